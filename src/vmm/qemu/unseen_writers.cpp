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
std::optional<std::uint64_t> count_of(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  return std::nullopt;
}

/// Adds what is told of one vCPU. Both numbers must be told.
bool add_vcpu(const Json& vcpu, NestedVms& all) {
  std::optional<std::uint64_t> entries, inside;
  for (const Json& counter : member(vcpu, "stats")) {
    const std::string name = text_at(counter, "name");
    if (name == "nested_run") entries = count_of(member(counter, "value"));
    if (name == "guest_mode") inside = count_of(member(counter, "value"));
  }
  if (!entries || !inside) return false;
  all.entries += *entries;
  all.inside |= *inside != 0;
  return true;
}

Result<std::string> first_vcpu(Qmp& qmp) {
  const Json cpus = TRY(query_array(qmp, "query-cpus-fast"));
  if (cpus.empty()) return fail(ErrorKind::kHypervisor, "QEMU names no vCPU");
  return text_at(cpus[0], "qom-path");
}

/// What a vCPU's property says; nothing if it has none of this name.
Result<std::optional<bool>> vcpu_has(Qmp& qmp, const char* property) {
  const std::string cpu = TRY(first_vcpu(qmp));
  const Json value = TRY(if_known(qmp.execute("qom-get", Json{{"path", cpu}, {"property", property}})));
  return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
}

/// A guest with VMX on could run VMs at any moment: it must have run none, since what its earlier ones left mapped
/// cannot be known, and no enlightened VMCS may be there.
Result<bool> may_have_run_nested_vms(Qmp& qmp, const std::optional<NestedVms>& counted) {
  const auto enlightened = TRY(vcpu_has(qmp, "hv-evmcs"));
  if (enlightened.value_or(true)) return true;
  return !counted || counted->inside || counted->entries != 0;
}

/// Pages of a nested VM's control structures (its virtual APIC page, its descriptor of posted interrupts) stay mapped
/// in KVM while that VM runs and are written by physical address. Which pages these are, nobody outside KVM knows, so
/// they cannot be sent again each time instead. AMD's KVM maps such a page again for each exit, which counts as a
/// write.
///
/// A guest that only could run VMs is let pass while KVM says that it has run none; one that has VMX off, while it runs
/// none from now on. The registers of a vCPU that is inside a nested VM are that VM's: CR4 says nothing then.
Status look_for_nested_vms(Qmp& qmp, Inspection& inspection, std::vector<Obstacle>& out) {
  if (inspection.fingerprint.accelerator != "kvm" || inspection.allow_nested) return {};
  const bool vmx_on = TRY(uses_vmx(qmp));
  if (!vmx_on) {
    const auto has_vmx = TRY(vcpu_has(qmp, "vmx"));
    if (!has_vmx.value_or(false)) return {};
  }
  const auto counted = TRY(count_nested_vms(qmp));
  const bool may_have = vmx_on ? TRY(may_have_run_nested_vms(qmp, counted)) : counted && counted->inside;
  const bool has_since = inspection.nested_entries && (!counted || counted->entries != *inspection.nested_entries);
  if (may_have || has_since) {
    out.push_back(nested_vms_obstacle());
  } else if (counted) {
    inspection.nested_entries = counted->entries;
  }
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

Result<std::optional<NestedVms>> count_nested_vms(Qmp& qmp) {
  const Json cpus = TRY(query_array(qmp, "query-cpus-fast"));
  const Json wanted = {{"provider", "kvm"}, {"names", Json::array({"nested_run", "guest_mode"})}};
  const Json counted =
      TRY(if_known(qmp.execute("query-stats", Json{{"target", "vcpu"}, {"providers", Json::array({wanted})}})));
  std::optional<NestedVms> all;
  if (!counted.is_array() || cpus.empty() || counted.size() != cpus.size()) return all;
  all.emplace();
  for (const Json& vcpu : counted) {
    if (!add_vcpu(vcpu, *all)) return std::optional<NestedVms>{};
  }
  return all;
}

Result<bool> has_run_nested_vms_since(Qmp& qmp, std::uint64_t entries) {
  const auto now = TRY(count_nested_vms(qmp));
  return !now || now->inside || now->entries != entries;
}

Obstacle nested_vms_obstacle() {
  return {"VMs inside the guest",
          "it has VMX on (CR4.VMXE) or runs one, and has run some or QEMU cannot tell, and KVM writes pages of theirs "
          "past every page table; unload kvm_intel "
          "in the guest, or, if none runs until the move is over, use `godwit send --allow-nested`"};
}

Result<std::vector<Obstacle>> find_unseen_writers(Qmp& qmp, const RemoteProcess& process, Inspection& inspection) {
  std::vector<Obstacle> found;
  TRY(look_for_nested_vms(qmp, inspection, found));
  TRY(look_for_registered_buffers(process, inspection, found));
  return found;
}

}  // namespace godwit::qemu
