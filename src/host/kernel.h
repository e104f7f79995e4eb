// What the running kernel can do for this process, found out by trying it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace godwit {

struct KernelVersion {
  unsigned major = 0;
  unsigned minor = 0;
  auto operator<=>(const KernelVersion&) const = default;
};

/// "6.18.44-generic" is 6.18; nothing if it does not begin with two numbers.
std::optional<KernelVersion> parse_kernel_release(std::string_view release) noexcept;

struct KernelFeatures {
  bool pagemap_scan = false;
  bool uffd_wp_async = false;
  bool uffd_kernel_faults = false;
  bool process_vm = false;
  bool pidfd_getfd = false;
  bool operator==(const KernelFeatures&) const = default;
};

/// Tries each on this process. `proc` and `dev`: where they are mounted.
KernelFeatures probe_kernel(const std::string& proc, const std::string& dev);

/// What is left of `features` on a kernel of this version.
KernelFeatures as_on(KernelVersion version, KernelFeatures features) noexcept;

}  // namespace godwit
