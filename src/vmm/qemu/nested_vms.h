// Whether a guest has run VMs of its own, by what KVM counts and QEMU passes on.
//
// A guest with VMX on (CR4.VMXE) has merely loaded its kvm_intel: since Linux 6.12 that is enough. What KVM writes past
// the page tables it writes for a VM that runs: see docs/safety.md, "VMs inside the guest".
#pragma once

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// False only if it is certain that no vCPU has entered a nested VM since the VM was made, and that none is in one that
/// came with a migration. True too where QEMU (before 7.1) or the kernel does not count, and where the guest may use
/// Hyper-V's enlightened VMCS, which KVM writes by physical address between VMs as well.
Result<bool> may_have_run_nested_vms(Qmp& qmp);

}  // namespace godwit::qemu
