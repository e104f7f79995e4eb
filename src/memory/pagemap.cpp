// PAGEMAP_SCAN where the kernel has it, the pagemap's entries page by page where not, and for what the scan cannot
// tell.
#include "memory/pagemap.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/kernel_abi.h"

namespace godwit {

namespace {

// A pagemap entry: 8 bytes per page.
constexpr std::uint64_t kEntryPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kEntrySwapped = std::uint64_t{1} << 62;
constexpr std::uint64_t kEntryWriteProtected = std::uint64_t{1} << 57;  // by a userfaultfd

// KERNEL: from 5.19 on a page that was write-protected before it was ever touched is a marker, which looks like a page
// swapped out to the last of the 32 swap types. Only those with CAP_SYS_ADMIN are shown the type; others see 0 there,
// and for them such a page counts as data: too many, not too few.
constexpr std::uint64_t kSwapTypeMask = 31;
constexpr std::uint64_t kMarkerSwapType = 31;

bool holds_data(std::uint64_t entry) noexcept {
  if ((entry & kEntryPresent) != 0) return true;
  if ((entry & kEntrySwapped) == 0) return false;
  const bool marker = (entry & kEntryWriteProtected) != 0 && (entry & kSwapTypeMask) == kMarkerSwapType;
  return !marker;
}

Error process_gone() {
  return Error{ErrorKind::kPeerLost, "the process whose memory this is has gone", 0};
}

}  // namespace

Status Pagemap::find_data(std::uint64_t address, std::uint64_t size, std::span<PageWord> out) const {
  if (can_scan_.load(std::memory_order_relaxed)) {
    const bool scanned = TRY(scan(address, size, out));
    if (scanned) {
      // The process may have ended during the scan, or this kernel's scan may find an ended one all empty: of such a
      // process no entry can be read.
      std::array<PageWord, 1> unused{};
      return read_entries(address, address, address + kPageSize, unused);
    }
    can_scan_.store(false, std::memory_order_relaxed);
  }
  return read_entries(address, address, address + size, out);
}

/// False: this kernel has no PAGEMAP_SCAN.
Result<bool> Pagemap::scan(std::uint64_t address, std::uint64_t size, std::span<PageWord> out) const {
  // 6 KiB of stack; a region per 2 pages is the worst case, one call per 256 regions costs nothing beside the walk.
  std::array<PagemapRegion, 256> regions;
  PagemapScan scan;
  scan.start = address;
  scan.end = address + size;
  scan.regions = reinterpret_cast<std::uint64_t>(regions.data());
  scan.regions_length = regions.size();
  scan.inverted = kPageIsZeroPage;
  scan.required = kPageIsZeroPage;
  scan.any_of = kPageIsPresent | kPageIsSwapped;
  scan.returned = kPageIsPresent | kPageIsSwapped;
  while (scan.start < scan.end) {
    const int count = ::ioctl(fd_.get(), kPagemapScan, &scan);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == ENOTTY || errno == EINVAL)) return false;
    if (count < 0 && errno == ESRCH) return fail(process_gone());
    if (count < 0) return fail_os("scan the process's page table");
    for (const auto& region : std::span(regions).first(static_cast<std::size_t>(count))) {
      const std::uint64_t start = std::max(region.start, address);
      const std::uint64_t end = std::min(region.end, address + size);
      if (start >= end) continue;
      if ((region.categories & kPageIsPresent) != 0) {
        add_pages(out, (start - address) / kPageSize, (end - start) / kPageSize);
      } else {
        TRY(read_entries(address, start, end, out));
      }
    }
    if (scan.walk_end <= scan.start) return fail(ErrorKind::kIo, "the scan of the process's page table is stuck");
    scan.start = scan.walk_end;
  }
  return true;
}

Status Pagemap::read_entries(std::uint64_t base, std::uint64_t start, std::uint64_t end,
                             std::span<PageWord> out) const {
  std::array<std::uint64_t, 512> entries;  // one page of them: 2 MiB of memory
  while (start < end) {
    const std::size_t wanted = std::min<std::size_t>(entries.size(), (end - start) / kPageSize);
    const auto position = static_cast<off_t>(start / kPageSize * sizeof(entries[0]));
    const ssize_t got = ::pread(fd_.get(), entries.data(), wanted * sizeof(entries[0]), position);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_os("read the process's page table");
    const auto count = static_cast<std::size_t>(got) / sizeof(entries[0]);
    if (count == 0) return fail(process_gone());
    for (std::size_t i = 0; i < count; ++i) {
      if (holds_data(entries[i])) add_pages(out, (start - base) / kPageSize + i, 1);
    }
    start += count * kPageSize;
  }
  return {};
}

}  // namespace godwit
