// Writers of guest memory that no page table sees and that come and go while the VM runs: to be looked for before a
// move, and again before the hand-over.
//
// (Devices that are there from the start and write so are in obstacles.h.)
#pragma once

#include "vmm/qemu/inspection.h"

namespace godwit::qemu {

/// `inspection` has the blocks, the accelerator and `allow_nested`, and is told whether the guest `may_nest`. Takes
/// about a millisecond, and what vcpu_registers.h says.
Result<std::vector<Obstacle>> find_unseen_writers(Qmp& qmp, const RemoteProcess& process, Inspection& inspection);

/// What is said of a guest that has, or may have, run VMs of its own.
Obstacle nested_vms_obstacle();

}  // namespace godwit::qemu
