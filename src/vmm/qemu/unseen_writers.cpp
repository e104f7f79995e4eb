#include "vmm/qemu/unseen_writers.h"

#include <fmt/format.h>

#include "attach/registered_buffers.h"
#include "vmm/qemu/nested_vms.h"
#include "vmm/qemu/vcpu_registers.h"

namespace godwit::qemu {
namespace {

/// Pages of a nested VM's control structures (its virtual APIC page, its descriptor of posted interrupts) stay mapped
/// in KVM while that VM runs and are written by physical address. Which pages these are, nobody outside KVM knows, so
/// they cannot be sent again each time instead. AMD's KVM maps such a page anew for each exit, which counts as a write.
///
/// A guest that only could run VMs is let pass while KVM says that it has run none.
Status look_for_nested_vms(Qmp& qmp, Inspection& inspection, std::vector<Obstacle>& out) {
  if (inspection.fingerprint.accelerator != "kvm" || inspection.allow_nested || !TRY(uses_vmx(qmp))) return {};
  if (!TRY(may_have_run_nested_vms(qmp))) {
    inspection.may_nest = true;
    return {};
  }
  out.push_back(nested_vms_obstacle());
  return {};
}

Status look_for_registered_buffers(const RemoteProcess& process, const Inspection& inspection,
                                   std::vector<Obstacle>& out) {
  const auto buffers = TRY(find_registered_buffers(process));
  for (const auto& block : inspection.blocks) {
    for (const auto& buffer : buffers) {
      if (buffer.address >= block.address + block.size || buffer.address + buffer.length <= block.address) continue;
      out.push_back({fmt::format("RAM block '{}', registered with io_uring", block.name),
                     "disk requests write registered memory past every page table"});
      break;
    }
  }
  return {};
}

}  // namespace

Obstacle nested_vms_obstacle() {
  return {
      "VMs inside the guest (CR4.VMXE is set)",
      "it has run some, or QEMU cannot tell, and KVM writes pages of theirs past every page table; unload kvm_intel "
      "in the guest, or, if none runs until the move is over, use `godwit send --allow-nested`"};
}

Result<std::vector<Obstacle>> find_unseen_writers(Qmp& qmp, const RemoteProcess& process, Inspection& inspection) {
  std::vector<Obstacle> found;
  TRY(look_for_nested_vms(qmp, inspection, found));
  TRY(look_for_registered_buffers(process, inspection, found));
  return found;
}

}  // namespace godwit::qemu
