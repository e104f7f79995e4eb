// For a VM that an engine left behind when it died.
#pragma once

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// True if the guest stood in a state that only a hand-over leaves (pre-switchover, postmigrate, finish-migrate, or
/// paused with a migration that failed, was cancelled or completed) and was let run again; false if it did not stand
/// in one, and then nothing was done.
///
/// DANGER: a guest that was committed to another host may run there. Only who knows by the journal that there was no
/// commit may call this; SourceVm never does.
Result<bool> revive(Qmp& qmp);

}  // namespace godwit::qemu
