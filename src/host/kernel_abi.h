// Kernel interfaces that are younger than the oldest headers we build with (Linux 6.1, Debian 12).
// Facts of the kernel's user ABI; they never change once released.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace godwit::abi {

// KERNEL: ioctl PAGEMAP_SCAN on /proc/PID/pagemap, Linux 6.7.
struct PagemapScanArguments {
  std::uint64_t size = sizeof(PagemapScanArguments);
  std::uint64_t flags = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t walk_end = 0;
  std::uint64_t regions = 0;
  std::uint64_t region_count = 0;
  std::uint64_t most_pages = 0;
  std::uint64_t category_inverted = 0;
  std::uint64_t category_mask = 0;
  std::uint64_t category_any_of = 0;
  std::uint64_t return_mask = 0;
};
static_assert(sizeof(PagemapScanArguments) == 96);

struct PagemapRegion {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t categories = 0;
};

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScanArguments);
inline constexpr std::uint64_t kScanWpMatching = 1U << 0U;
inline constexpr std::uint64_t kScanCheckWpAsync = 1U << 1U;
inline constexpr std::uint64_t kPageIsWritten = 1U << 1U;

// KERNEL: userfaultfd features. WP_HUGETLBFS_SHMEM Linux 5.19, WP_UNPOPULATED 6.4, WP_ASYNC 6.7.
inline constexpr std::uint64_t kUffdWpHugetlbfsShmem = 1U << 12U;
inline constexpr std::uint64_t kUffdWpUnpopulated = 1U << 13U;
inline constexpr std::uint64_t kUffdWpAsync = 1U << 15U;

// KERNEL: /dev/userfaultfd, Linux 6.1: a descriptor with all rights for whoever may open the device.
inline constexpr unsigned long kUserfaultfdDeviceNew = _IO(0xAA, 0x00);

// KERNEL: userfaultfd(UFFD_USER_MODE_ONLY), Linux 5.11.
inline constexpr int kUffdUserModeOnly = 1;

}  // namespace godwit::abi
