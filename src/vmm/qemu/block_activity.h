// What is at work on a VM's disks besides its guest: jobs, and exports that others may write through. QEMU leaves them
// behind when it hands a guest over; 7.2 even aborts when a job goes on to write afterwards.
#pragma once

#include "vmm/qemu/inspection.h"

namespace godwit::qemu {

/// One obstacle for each disk that is not active although its VM is paused: so it came here by a migration and has not
/// run since. A QEMU before 10 aborts when such a VM is migrated on ("bdrv_inactivate_recurse: Assertion ... failed").
Result<std::vector<Obstacle>> find_inactive_disks(Qmp& qmp);

/// One obstacle for each job that has not ended and each writable export. Costs QEMU a command each, and one more where
/// there are exports.
Result<std::vector<Obstacle>> find_block_activity(Qmp& qmp);

}  // namespace godwit::qemu
