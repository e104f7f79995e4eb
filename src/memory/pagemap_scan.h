// PAGEMAP_SCAN as the kernel defines it, for systems whose headers are older than their kernel.
//
// KERNEL: the ioctl on /proc/PID/pagemap needs Linux 6.7. Names of our own, so that newer headers do not collide.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace godwit {

/// Categories of a page.
inline constexpr std::uint64_t kPageIsWriteProtectable = 1 << 0;  ///< asynchronous write-protection can be armed
inline constexpr std::uint64_t kPageIsWritten = 1 << 1;           ///< since it was armed
inline constexpr std::uint64_t kPageIsFile = 1 << 2;
inline constexpr std::uint64_t kPageIsPresent = 1 << 3;
inline constexpr std::uint64_t kPageIsSwapped = 1 << 4;  ///< also: a marker that write-protects a page never touched
inline constexpr std::uint64_t kPageIsZeroPage = 1 << 5;
inline constexpr std::uint64_t kPageIsHuge = 1 << 6;

/// What PagemapScan::flags asks for beside the answer.
inline constexpr std::uint64_t kScanWriteProtects = 1 << 0;     ///< arm the matching pages again
inline constexpr std::uint64_t kScanChecksAsyncArmed = 1 << 1;  ///< fail where asynchronous mode is not set up

/// Neighbouring pages of the same categories.
struct PagemapRegion {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t categories = 0;
};

/// A page matches when, with the `inverted` categories negated, it has all of `required` and any of `any_of` (if any).
struct PagemapScan {
  std::uint64_t size = sizeof(PagemapScan);
  std::uint64_t flags = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t walk_end = 0;  ///< out: where the scan stopped, `end` if it got through
  std::uint64_t regions = 0;   ///< address of an array of PagemapRegion
  std::uint64_t regions_length = 0;
  std::uint64_t max_pages = 0;
  std::uint64_t inverted = 0;
  std::uint64_t required = 0;
  std::uint64_t any_of = 0;
  std::uint64_t returned = 0;  ///< categories that the regions tell
};
static_assert(sizeof(PagemapScan) == 96);

/// Gives the number of regions filled in.
inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScan);

}  // namespace godwit
