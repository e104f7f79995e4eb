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

/// Whether a guest has run VMs of its own, by what KVM counts and QEMU passes on. False only if it is certain that no
/// vCPU has entered a nested VM since the VM was made, and that none is in one that came with a migration. True too
/// where QEMU (before 7.1) or the kernel does not count, and where the guest may use Hyper-V's enlightened VMCS, which
/// KVM writes by physical address between VMs as well.
///
/// A guest with VMX on (CR4.VMXE) has merely loaded its kvm_intel: since Linux 6.12 that is enough. What KVM writes
/// past the page tables it writes for a VM that runs: see docs/safety.md, "VMs inside the guest".
Result<bool> may_have_run_nested_vms(Qmp& qmp);

/// What is said of a guest that has, or may have, run VMs of its own.
Obstacle nested_vms_obstacle();

}  // namespace godwit::qemu
