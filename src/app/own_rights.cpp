#include "app/own_rights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

#include "base/capabilities.h"
#include "base/small_files.h"

namespace godwit {

namespace {

struct NamedCapability {
  Capability which;
  const char* name;
};

// Tracing QEMU and reading its memory; opening its files, sockets and pages where another user
// owns them. CAP_SYS_ADMIN is asked for by name where it is needed (reading a seccomp filter).
constexpr std::array kNeeded = {NamedCapability{Capability::kDacOverride, "CAP_DAC_OVERRIDE"},
                                NamedCapability{Capability::kSysPtrace, "CAP_SYS_PTRACE"}};

/// "CapEff:\t000001ffffffffff"; all of them where it is not told.
CapabilitySet effective_capabilities(std::string_view status) {
  const auto text = value_of_line(status, "CapEff");
  std::uint64_t bits = ~std::uint64_t{0};
  if (text) std::from_chars(text->data(), text->data() + text->size(), bits, 16);
  return CapabilitySet(bits);
}

/// The host's own has "0 0 4294967295", and every user there is himself.
bool is_namespace_of_its_own(std::string_view uid_map) {
  std::array<std::uint64_t, 3> numbers{};
  for (auto& number : numbers) {
    uid_map.remove_prefix(std::min(uid_map.find_first_not_of(" \t"), uid_map.size()));
    const auto [end, error] = std::from_chars(uid_map.data(), uid_map.data() + uid_map.size(), number);
    if (error != std::errc{}) return false;
    uid_map.remove_prefix(static_cast<std::size_t>(end - uid_map.data()));
  }
  return numbers != std::array<std::uint64_t, 3>{0, 0, 0xffffffff};
}

/// AppArmor says "unconfined" or "docker-default (enforce)", SELinux "system_u:system_r:virtd_t:s0".
bool is_confining(std::string_view profile) {
  while (!profile.empty() && (profile.back() == '\0' || profile.back() == '\n')) profile.remove_suffix(1);
  if (profile.empty() || profile.starts_with("unconfined") || profile.ends_with("(complain)")) return false;
  return profile.find("unconfined_t") == std::string_view::npos && profile != "kernel";
}

}  // namespace

OwnRights parse_own_rights(unsigned effective_user, std::string_view status, std::string_view uid_map,
                           std::string_view ptrace_scope, std::string_view profile) {
  OwnRights rights;
  rights.root = effective_user == 0;
  const auto capabilities = effective_capabilities(status);
  for (const NamedCapability& needed : kNeeded) {
    if (!capabilities.contains(CapabilitySet(needed.which))) rights.lacks.emplace_back(needed.name);
  }
  rights.in_user_namespace = is_namespace_of_its_own(uid_map);
  rights.ptrace_off = ptrace_scope.starts_with('3');
  rights.seccomp = value_of_line(status, "Seccomp").value_or("0") == "2";
  rights.module_profile = is_confining(profile);
  return rights;
}

OwnRights own_rights() {
  const auto text = [](const char* path) { return read_small_file(path).value_or(""); };
  return parse_own_rights(::geteuid(), text("/proc/self/status"), text("/proc/self/uid_map"),
                          text("/proc/sys/kernel/yama/ptrace_scope"), text("/proc/self/attr/current"));
}

std::string advice_on_denial(const OwnRights& rights, std::string_view purpose) {
  if (!rights.root) return fmt::format("Run godwit as root ({}).", purpose);
  std::vector<std::string> suspects;
  if (!rights.lacks.empty()) suspects.push_back(fmt::format("without {}", fmt::join(rights.lacks, " and ")));
  if (rights.in_user_namespace) suspects.emplace_back("in a user namespace");
  if (rights.ptrace_off) suspects.emplace_back("with kernel.yama.ptrace_scope=3");
  if (rights.seccomp) suspects.emplace_back("under a seccomp filter");
  if (rights.module_profile) suspects.emplace_back("under an AppArmor or SELinux profile");
  if (suspects.empty()) {
    return "godwit is root and nothing that it can see confines it: look in the kernel's and the audit log for who "
           "denied what is named above.";
  }
  return fmt::format("godwit is root, but {}, which may deny this: run it on the host itself without that.",
                     fmt::join(suspects, ", "));
}

}  // namespace godwit
