// Waits for QEMU to come to rest after a migration, and lets its guest run again.
#pragma once

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Ends a migration that is under way (migrate_cancel) and waits until QEMU agrees that none is. Gives the state in
/// which it came to rest: "none", "completed", "failed", "cancelled".
Result<std::string> settle_migration(Qmp& qmp, Duration timeout);

/// Makes the guest run and returns once it does; at once if it runs. kHypervisor with QEMU's reason if it cannot run.
Status let_run(Qmp& qmp, Duration timeout);

}  // namespace godwit::qemu
