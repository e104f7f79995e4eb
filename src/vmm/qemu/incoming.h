// Whether a QEMU that waits for a VM waits for us.
#pragma once

#include "attach/remote_process.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// For a QEMU in the state "inmigrate". kRefused, by name: one that listens for QEMU's own migration (-incoming tcp:...
/// instead of defer), one that has failed to take a VM in and will take no other.
Status check_waits_for_us(Qmp& qmp, const RemoteProcess& process);

}  // namespace godwit::qemu
