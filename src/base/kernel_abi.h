// Kernel interfaces that the headers of the oldest distribution that we build on lack (Debian 12, Linux 6.1):
// PAGEMAP_SCAN and the younger parts of userfaultfd. All in one place, because they are copied from the kernel by hand.
//
// KERNEL: user ABI, which never changes once released. Names of our own, so that newer headers do not collide.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>

namespace godwit {

// ---- PAGEMAP_SCAN: ioctl on /proc/PID/pagemap, Linux 6.7

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

// ---- userfaultfd

/// A flag of userfaultfd(2), Linux 5.11: no faults of the kernel are delivered. Allowed to everybody.
inline constexpr int kUserModeOnly = 1;
/// An ioctl on /dev/userfaultfd, Linux 6.1: a descriptor with all rights for whoever may open the device.
inline constexpr unsigned long kNewUserfaultfd = _IO(0xAA, 0x00);

/// A feature, Linux 5.19. Write-protection of shared memory and huge pages too.
inline constexpr std::uint64_t kWriteProtectShared = std::uint64_t{1} << 12;
/// Linux 6.4. Write-protection of pages that do not exist yet, so that reading one does not count as writing.
inline constexpr std::uint64_t kWriteProtectUnpopulated = std::uint64_t{1} << 13;
/// Linux 6.7. A write to a protected page lifts the protection in the kernel; nobody has to answer.
inline constexpr std::uint64_t kWriteProtectAsync = std::uint64_t{1} << 15;
/// What tracking needs, all at once.
inline constexpr std::uint64_t kTrackingFeatures = kWriteProtectShared | kWriteProtectUnpopulated | kWriteProtectAsync;

// ---- cachestat: Linux 6.5

/// The number of cachestat(2).
inline constexpr long kCachestat = 451;

struct CachestatRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

struct CachestatCounts {
  std::uint64_t cached = 0;
  std::uint64_t dirty = 0;
  std::uint64_t under_writeback = 0;
  std::uint64_t evicted = 0;
  std::uint64_t recently_evicted = 0;
};

// ---- ptrace

/// NT_X86_SHSTK, a register set: the shadow stack's state. Linux 6.6.
inline constexpr int kShadowStackState = 0x204;

}  // namespace godwit
