#include "vmm/qemu/cpu_fingerprint.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"
#include "vmm/qemu/machine_fingerprint.h"

namespace godwit::qemu {
namespace {

Result<std::string> read_version(Qmp& qmp) {
  const Json answer = TRY(qmp.execute("query-version"));
  const Json& parts = member(answer, "qemu");
  return fmt::format("{}.{}.{}", number_at(parts, "major"), number_at(parts, "minor"), number_at(parts, "micro"));
}

/// Bits that a guest sees because of its number of CPUs. QEMU computes them when the guest asks; 10.0 lists them as
/// features too, 7.2 does not, and both show the guest the same. The topology itself is compared.
std::uint64_t bits_of_topology(std::string_view word) {
  constexpr std::uint64_t kHt = std::uint64_t{1} << 28;
  constexpr std::uint64_t kCmpLegacy = std::uint64_t{1} << 1;
  if (word == "cpuid 0x1 EDX") return kHt;
  if (word == "cpuid 0x80000001 ECX") return kCmpLegacy;
  return 0;
}

/// CPUID words as the guest sees them, all zero ones left out.
Result<std::map<std::string, std::string>> read_features(Qmp& qmp, const std::string& cpu) {
  const Json words = TRY(qmp.execute("qom-get", Json{{"path", cpu}, {"property", "feature-words"}}));
  if (!words.is_array()) return fail(ErrorKind::kProtocol, "the CPU's feature words are no list");
  std::map<std::string, std::string> features;
  for (const Json& word : words) {
    std::uint64_t bits = number_at(word, "features");
    std::string name = fmt::format("cpuid {:#x}", number_at(word, "cpuid-input-eax"));
    if (!member(word, "cpuid-input-ecx").is_null()) name += fmt::format("/{}", number_at(word, "cpuid-input-ecx"));
    name += " " + text_at(word, "cpuid-register");
    bits &= ~bits_of_topology(name);
    if (bits != 0) features[name] = fmt::format("{:#x}", bits);
  }
  return features;
}

}  // namespace

Result<Fingerprint> read_fingerprint(Qmp& qmp) {
  Fingerprint vm;
  vm.hypervisor = "qemu";
  vm.version = TRY(read_version(qmp));
  vm.vm_name = text_at(TRY(qmp.execute("query-name")), "name");
  vm.machine = TRY(qom_text(qmp, "/machine", "type"));
  constexpr std::string_view kSuffix = "-machine";
  if (vm.machine.ends_with(kSuffix)) vm.machine.resize(vm.machine.size() - kSuffix.size());
  if (vm.machine.empty()) return fail(ErrorKind::kUnsupported, "QEMU does not tell its machine type");
  vm.accelerator = bool_at(TRY(qmp.execute("query-kvm")), "enabled") ? "kvm" : "tcg";

  const Json cpus = TRY(query_array(qmp, "query-cpus-fast"));
  if (cpus.empty()) return fail(ErrorKind::kUnsupported, "the VM has no CPU");
  vm.cpus = static_cast<unsigned>(cpus.size());
  const std::string target = text_at(cpus[0], "target");
  if (target != "x86_64") return fail(ErrorKind::kUnsupported, fmt::format("a guest of type '{}', not x86_64", target));
  const std::string cpu = text_at(cpus[0], "qom-path");
  vm.cpu_model = TRY(qom_text(qmp, cpu, "type"));
  vm.cpu_features = TRY(read_features(qmp, cpu));
  TRY(read_machine(qmp, cpu, vm));
  return vm;
}

}  // namespace godwit::qemu
