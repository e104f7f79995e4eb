#include "vmm/qemu/vcpu_registers.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "base/limits.h"

namespace godwit::qemu {
namespace {

constexpr std::uint64_t kPaging = std::uint64_t{1} << 31;                    // CR0.PG
constexpr std::uint64_t kVirtualMachineExtensions = std::uint64_t{1} << 13;  // CR4.VMXE

/// The value of " NAME=hex" or "NAME=hex" at a line's start, up to the next white space.
std::optional<std::uint64_t> value_of(std::string_view line, std::string_view name) {
  const std::string key = fmt::format("{}=", name);
  auto at = line.find(key);
  while (at != line.npos && at > 0 && line[at - 1] != ' ') at = line.find(key, at + 1);
  if (at == line.npos) return std::nullopt;
  const std::string_view digits = line.substr(at + key.size());
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  const bool whole = end == digits.data() + digits.size() || *end == ' ' || *end == '\r';
  if (error != std::errc{} || !whole) return std::nullopt;
  return value;
}

/// "CR0=80050033 CR2=0000000001d458e8 CR3=00000000024b2000 CR4=000006b0", one line a vCPU.
struct ControlRegisters {
  std::uint64_t cr0 = 0;
  std::uint64_t cr3 = 0;
  std::optional<std::uint64_t> cr4;
};

Result<std::vector<ControlRegisters>> parse_control_registers(std::string_view text) {
  std::vector<ControlRegisters> all;
  std::size_t cpus = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with("CPU#")) ++cpus;
    if (!line.starts_with("CR0=")) continue;
    const auto cr0 = value_of(line, "CR0");
    const auto cr3 = value_of(line, "CR3");
    if (!cr0 || !cr3) return fail(ErrorKind::kHypervisor, "QEMU's control registers are not understood");
    all.push_back({*cr0, *cr3, value_of(line, "CR4")});
  }
  if (cpus == 0 || cpus != all.size() || cpus > most::kCpus) {
    return fail(ErrorKind::kHypervisor,
                fmt::format("QEMU names {} vCPUs and the control registers of {}", cpus, all.size()));
  }
  return all;
}

}  // namespace

Result<std::vector<std::uint64_t>> parse_page_table_roots(std::string_view text) {
  std::vector<std::uint64_t> roots;
  for (const auto& cpu : TRY(parse_control_registers(text))) {
    if ((cpu.cr0 & kPaging) != 0) roots.push_back(cpu.cr3);
  }
  return roots;
}

Result<bool> parse_uses_vmx(std::string_view text) {
  bool uses = false;
  for (const auto& cpu : TRY(parse_control_registers(text))) {
    if (!cpu.cr4) return fail(ErrorKind::kHypervisor, "QEMU's control registers are not understood");
    uses |= (*cpu.cr4 & kVirtualMachineExtensions) != 0;
  }
  return uses;
}

Result<std::vector<std::uint64_t>> page_table_roots(Qmp& qmp) {
  return parse_page_table_roots(TRY(qmp.human("info registers -a")));
}

Result<bool> uses_vmx(Qmp& qmp) {
  return parse_uses_vmx(TRY(qmp.human("info registers -a")));
}

}  // namespace godwit::qemu
