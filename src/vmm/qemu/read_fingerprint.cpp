#include "vmm/qemu/read_fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "vmm/qemu/device_tree.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/ram_blocks.h"

namespace godwit::qemu {
namespace {

// -machine options that a guest can notice later than at its boot. hpet and i8042 are devices too, but "auto" is not
// one.
constexpr std::array kMachineProperties = {
    "max-ram-below-4g", "vmport", "hpet", "i8042", "smm", "acpi", "pit", "pic", "sata", "smbus", "nvdimm"};
Result<Json> property(Qmp& qmp, const std::string& path, const std::string& name) {
  return if_known(qmp.execute("qom-get", Json{{"path", path}, {"property", name}}));
}

Status read_topology(Qmp& qmp, const std::string& cpu, Fingerprint& vm) {
  const Json smp = TRY(property(qmp, "/machine", "smp"));
  if (smp.is_object()) {
    for (const auto& [name, value] : smp.items()) {
      // How many CPUs it began with; how many it has now is known from themselves.
      if (name == "cpus" || !value.is_number_unsigned()) continue;
      vm.topology[name] = static_cast<std::uint32_t>(std::min<std::uint64_t>(value.get<std::uint64_t>(), ~0u));
    }
  }
  const Json bits = TRY(property(qmp, cpu, "phys-bits"));
  if (bits.is_number_unsigned()) vm.physical_bits = static_cast<unsigned>(bits.get<std::uint64_t>() & 0xff);

  const Json slots = TRY(if_known(qmp.execute("query-hotpluggable-cpus")));
  if (!slots.is_array()) return {};
  for (const Json& slot : slots) {
    if (text_at(slot, "qom-path").empty() || vm.cpu_places.size() > most::kCpus) continue;
    std::string place;
    const Json& properties = member(slot, "props");
    for (const char* part : {"socket-id", "die-id", "module-id", "core-id", "thread-id"}) {
      // A part that one version does not list is 0 there: then it says nothing.
      if (const auto number = number_at(properties, part); number != 0) place += fmt::format("{} {} ", part, number);
    }
    if (!place.empty()) place.pop_back();
    vm.cpu_places.push_back(place.empty() ? "the first place" : place);
  }
  std::sort(vm.cpu_places.begin(), vm.cpu_places.end());
  return {};
}

Status read_properties(Qmp& qmp, Fingerprint& vm) {
  for (const char* name : kMachineProperties) {
    const Json value = TRY(property(qmp, "/machine", name));
    // "auto" is "on" or "off", and which of them is not told.
    if (value.is_string() && value != "auto") vm.machine_properties[name] = value.get<std::string>();
    if (value.is_boolean()) vm.machine_properties[name] = value.get<bool>() ? "on" : "off";
    if (value.is_number_unsigned()) vm.machine_properties[name] = std::to_string(value.get<std::uint64_t>());
  }
  // "n0: index=0,type=user,net=10.0.2.0,restrict=off"
  const std::string networks = TRY(qmp.human("info network"));
  constexpr std::string_view kUser = ",type=user";
  unsigned users = 0;
  for (auto at = networks.find(kUser); at != std::string::npos; at = networks.find(kUser, at + 1)) ++users;
  vm.machine_properties["user-networks"] = std::to_string(users);

  const Json machines = TRY(if_known(qmp.execute("query-machines")));
  if (!machines.is_array()) return {};
  for (const Json& machine : machines) {
    if (text_at(machine, "name") == vm.machine) vm.machine_alias = text_at(machine, "alias");
  }
  return {};
}

Status read_memory(Qmp& qmp, Fingerprint& vm) {
  for (const auto& line : parse_ram_blocks(TRY(qmp.human("info ramblock")))) {
    if (vm.memory.size() <= most::kRamBlocks) vm.memory.push_back({line.name, line.size, line.most});
  }
  return {};
}

Status read_devices(Qmp& qmp, Fingerprint& vm) {
  const auto tree = parse_device_tree(TRY(qmp.human("info qtree")));
  vm.devices = comparable_devices(tree);
  auto more = TRY(devices_without_bus(qmp, tree));
  vm.devices.insert(vm.devices.end(), more.begin(), more.end());
  return {};
}

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
  if (!words.is_array()) return fail(ErrorKind::kProtocol, "the CPU's feature words are not a list");
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

/// Fills in all that differs from machine to machine of one type. `cpu` is the QOM path of one of its CPUs. What this
/// version of QEMU does not tell stays empty.
Status read_machine(Qmp& qmp, const std::string& cpu, Fingerprint& vm) {
  vm.uuid = text_at(TRY(qmp.execute("query-uuid")), "UUID");
  if (vm.uuid == "00000000-0000-0000-0000-000000000000") vm.uuid.clear();
  TRY(read_topology(qmp, cpu, vm));
  TRY(read_properties(qmp, vm));
  TRY(read_memory(qmp, vm));
  return read_devices(qmp, vm);
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
