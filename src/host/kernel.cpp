// Each feature is tried for real, on this very process: version numbers lie (distributions backport), and a feature
// that the kernel has may be forbidden here (seccomp, sysctl).
#include "host/kernel.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include "base/kernel_abi.h"
#include "base/unique_fd.h"

namespace godwit {

namespace {

UniqueFd open_userfaultfd(int flags) {
  return UniqueFd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags)));
}

/// Through the device, where one's rights are those of the file and not a capability.
UniqueFd open_userfaultfd_device(const std::string& dev) {
  const UniqueFd device(::open((dev + "/userfaultfd").c_str(), O_RDWR | O_CLOEXEC));
  if (!device) return {};
  return UniqueFd(::ioctl(device.get(), kNewUserfaultfd, O_CLOEXEC | O_NONBLOCK));
}

bool has_tracking_features(const UniqueFd& userfaultfd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kTrackingFeatures;
  // Asked for a feature that it does not know the kernel answers EINVAL.
  return ::ioctl(userfaultfd.get(), UFFDIO_API, &api) == 0 && (api.features & kTrackingFeatures) == kTrackingFeatures;
}

void probe_userfaultfd(const std::string& dev, KernelFeatures& features) {
  UniqueFd fd = open_userfaultfd(0);
  if (!fd) fd = open_userfaultfd_device(dev);
  features.uffd_kernel_faults = static_cast<bool>(fd);
  // Dirty tracking delivers no faults to user space at all: the restricted kind is enough.
  if (!fd) fd = open_userfaultfd(kUserModeOnly);
  features.uffd_wp_async = fd && has_tracking_features(fd);
}

bool probe_pagemap_scan(const std::string& proc) {
  const UniqueFd pagemap(::open((proc + "/self/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  if (!pagemap) return false;
  const auto page_size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  int on_the_stack = 0;
  PagemapRegion region;
  PagemapScan scan;
  scan.start = reinterpret_cast<std::uint64_t>(&on_the_stack) & ~(page_size - 1);
  scan.end = scan.start + page_size;
  scan.regions = reinterpret_cast<std::uint64_t>(&region);
  scan.regions_length = 1;
  scan.required = kPageIsWritten;
  scan.returned = kPageIsWritten;
  return ::ioctl(pagemap.get(), kPagemapScan, &scan) >= 0;
}

bool probe_process_vm() {
  const char there = 'x';
  char here = 0;
  const iovec to{&here, 1};
  const iovec from{const_cast<char*>(&there), 1};
  return ::process_vm_readv(::getpid(), &to, 1, &from, 1, 0) == 1 && here == there;
}

bool probe_pidfd_getfd() {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  if (!pidfd) return false;
  const UniqueFd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), pidfd.get(), 0)));
  return static_cast<bool>(copy);
}

}  // namespace

std::optional<KernelVersion> parse_kernel_release(std::string_view release) noexcept {
  KernelVersion version;
  const char* const last = release.data() + release.size();
  const auto first = std::from_chars(release.data(), last, version.major);
  if (first.ec != std::errc() || first.ptr == last || *first.ptr != '.') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, last, version.minor);
  if (second.ec != std::errc()) return std::nullopt;
  return version;
}

KernelFeatures probe_kernel(const std::string& proc, const std::string& dev) {
  KernelFeatures features;
  probe_userfaultfd(dev, features);
  features.pagemap_scan = probe_pagemap_scan(proc);
  features.process_vm = probe_process_vm();
  features.pidfd_getfd = probe_pidfd_getfd();
  return features;
}

KernelFeatures as_on(KernelVersion version, KernelFeatures features) noexcept {
  const auto since = [version](unsigned major, unsigned minor) { return version >= KernelVersion{major, minor}; };
  features.pagemap_scan &= since(6, 7);
  features.uffd_wp_async &= since(6, 7);
  features.uffd_kernel_faults &= since(4, 11);  // the first with userfaultfd on shmem
  features.process_vm &= since(3, 2);
  features.pidfd_getfd &= since(5, 6);
  return features;
}

}  // namespace godwit
