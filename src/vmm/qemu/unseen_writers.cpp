#include "vmm/qemu/unseen_writers.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "attach/registered_buffers.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/vcpu_registers.h"

namespace godwit::qemu {
namespace {

/// Some kernels count `guest_mode`, some say true or false.
std::optional<bool> is_zero(const Json& value) {
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number_unsigned()) return value.get<std::uint64_t>() == 0;
  return std::nullopt;
}

/// Whether both counters of a vCPU are told and are nothing.
bool has_run_none(const Json& vcpu) {
  int none = 0;
  for (const Json& counter : member(vcpu, "stats")) {
    const std::string name = text_at(counter, "name");
    if (name != "nested_run" && name != "guest_mode") continue;
    if (!is_zero(member(counter, "value")).value_or(false)) return false;
    ++none;
  }
  return none == 2;
}

/// Pages of a nested VM's control structures (its virtual APIC page, its descriptor of posted interrupts) stay mapped
/// in KVM while that VM runs and are written by physical address. Which pages these are, nobody outside KVM knows, so
/// they cannot be sent again each time instead. AMD's KVM maps such a page again for each exit, which counts as a
/// write.
///
/// A guest that only could run VMs is let pass while KVM says that it has run none.
Status look_for_nested_vms(Qmp& qmp, Inspection& inspection, std::vector<Obstacle>& out) {
  if (inspection.fingerprint.accelerator != "kvm" || inspection.allow_nested) return {};
  const bool could = TRY(uses_vmx(qmp));
  if (!could) return {};
  const bool may_have = TRY(may_have_run_nested_vms(qmp));
  if (!may_have) {
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

Result<bool> may_have_run_nested_vms(Qmp& qmp) {
  const Json cpus = TRY(query_array(qmp, "query-cpus-fast"));
  if (cpus.empty()) return true;
  const std::string cpu = text_at(cpus[0], "qom-path");
  const Json enlightened = TRY(if_known(qmp.execute("qom-get", Json{{"path", cpu}, {"property", "hv-evmcs"}})));
  if (!enlightened.is_boolean() || enlightened.get<bool>()) return true;

  const Json wanted = {{"provider", "kvm"}, {"names", Json::array({"nested_run", "guest_mode"})}};
  const Json counted =
      TRY(if_known(qmp.execute("query-stats", Json{{"target", "vcpu"}, {"providers", Json::array({wanted})}})));
  if (!counted.is_array() || counted.size() != cpus.size()) return true;
  for (const Json& vcpu : counted) {
    if (!has_run_none(vcpu)) return true;
  }
  return false;
}

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
