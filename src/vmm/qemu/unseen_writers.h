// Writers of guest memory that no page table sees and that come and go while the VM runs: to be looked for before a
// move, and again before the hand-over.
//
// (Devices that are there from the start and write so are in obstacles.h.)
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "vmm/qemu/inspection.h"

namespace godwit::qemu {

/// `inspection` has the blocks, the accelerator and `allow_nested`, and is told the `nested_entries` to watch, if any;
/// where it has them already, a guest that has run VMs since is named. Takes about a millisecond, and what
/// vcpu_registers.h says.
Result<std::vector<Obstacle>> find_unseen_writers(Qmp& qmp, const RemoteProcess& process, Inspection& inspection);

/// The VMs that a guest has run inside, by what KVM counts and QEMU passes on.
struct NestedVms {
  std::uint64_t entries = 0;  ///< of all vCPUs into VMs of the guest's, since this VM was made
  bool inside = false;        ///< a vCPU is in one now, which may have come with a migration
};

/// Nothing where QEMU (before 7.1) or the kernel does not count.
Result<std::optional<NestedVms>> count_nested_vms(Qmp& qmp);

/// Whether a guest has entered a VM since `entries` were counted, is in one, or it cannot be told any more. What KVM
/// writes past the page tables it writes for a VM that runs: see docs/safety.md, "VMs inside the guest".
Result<bool> has_run_nested_vms_since(Qmp& qmp, std::uint64_t entries);

/// What is said of a guest that has, or may have, run VMs of its own.
Obstacle nested_vms_obstacle();

}  // namespace godwit::qemu
