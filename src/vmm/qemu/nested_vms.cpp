#include "vmm/qemu/nested_vms.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

/// The answer, or null where this QEMU does not know the command or the property.
Result<Json> if_known(Result<Json> answer) {
  const bool unknown =
      !answer && (answer.error().kind == ErrorKind::kHypervisor || answer.error().kind == ErrorKind::kUnsupported);
  if (unknown) return Json();
  return answer;
}

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

}  // namespace godwit::qemu
