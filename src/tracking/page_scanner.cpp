#include "tracking/page_scanner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/units.h"

namespace godwit {
namespace {

// The kernel holds the address space's lock during a call, and KVM's vCPUs cannot fault pages of the stretch in: a few
// milliseconds at most for this much. A multiple of every huge page's size, because half a huge page is never armed.
constexpr std::uint64_t kScannedAtOnce = kGiB;
// 96 KiB of results: few calls for a busy guest, and it stays in L2.
constexpr std::size_t kRegions = 4096;

Error scan_error(int number, std::uint64_t address) {
  if (number == EPERM) {
    return {ErrorKind::kHypervisor, fmt::format("memory at {:#x} is not write-protected any more", address), number};
  }
  if (number == ESRCH) return {ErrorKind::kPeerLost, "the hypervisor has ended", number};
  return os_error(fmt::format("PAGEMAP_SCAN at {:#x}", address), number);
}

PagemapScan written_since_armed() {
  PagemapScan scan;
  scan.flags = kScanWriteProtects | kScanChecksAsyncArmed;
  // Exactly this one category: with any other the kernel takes pages for clean that are not in the page table, also
  // those that were written and then swapped out.
  scan.required = kPageIsWritten;
  return scan;
}

PagemapScan present() {
  PagemapScan scan;
  scan.inverted = kPageIsZeroPage;
  scan.required = kPageIsZeroPage;
  scan.any_of = kPageIsPresent | kPageIsSwapped;
  return scan;
}

PagemapScan absent() {
  PagemapScan scan;
  scan.inverted = kPageIsPresent;
  scan.required = kPageIsPresent;
  return scan;
}

}  // namespace

PageScanner::PageScanner(UniqueFd pagemap) : pagemap_(std::move(pagemap)), regions_(kRegions) {}

Result<PageScanner> PageScanner::open(const RemoteProcess& process) {
  return PageScanner(TRY(process.open_pagemap()));
}

Status PageScanner::arm(std::uint64_t address, std::uint64_t length) {
  const std::uint64_t end = address + length;
  for (std::uint64_t at = address; at < end;) {
    PagemapScan scan = written_since_armed();
    scan.start = at;
    scan.end = std::min(end, at + kScannedAtOnce);
    if (::ioctl(pagemap_.get(), kPagemapScan, &scan) < 0) return fail(scan_error(errno, at));
    if (scan.walk_end <= at) return fail(ErrorKind::kIo, "PAGEMAP_SCAN does not advance");
    at = scan.walk_end;
  }
  return {};
}

Status PageScanner::collect(std::uint64_t address, std::uint64_t length,
                            const std::function<void(std::uint64_t start, std::uint64_t end)>& found) {
  return walk(address, length, written_since_armed(), found);
}

Status PageScanner::look(std::uint64_t address, std::uint64_t length,
                         const std::function<void(std::uint64_t start, std::uint64_t end)>& found) {
  PagemapScan scan = written_since_armed();
  scan.flags = kScanChecksAsyncArmed;
  return walk(address, length, scan, found);
}

Status PageScanner::find_present(std::uint64_t address, std::uint64_t length,
                                 const std::function<void(std::uint64_t start, std::uint64_t end)>& found) {
  return walk(address, length, present(), found);
}

Status PageScanner::find_absent(std::uint64_t address, std::uint64_t length,
                                const std::function<void(std::uint64_t start, std::uint64_t end)>& found) {
  return walk(address, length, absent(), found);
}

Status PageScanner::walk(std::uint64_t address, std::uint64_t length, const PagemapScan& wanted,
                         const std::function<void(std::uint64_t start, std::uint64_t end)>& found) {
  const std::uint64_t end = address + length;
  for (std::uint64_t at = address; at < end;) {
    PagemapScan scan = wanted;
    scan.start = at;
    scan.end = std::min(end, at + kScannedAtOnce);
    scan.returned = wanted.required;
    scan.regions = reinterpret_cast<std::uint64_t>(regions_.data());
    scan.regions_length = regions_.size();
    const int count = ::ioctl(pagemap_.get(), kPagemapScan, &scan);
    if (count < 0) return fail(scan_error(errno, at));
    for (int i = 0; i < count; ++i) found(regions_[i].start, regions_[i].end);
    // Short of the end when the array was full.
    if (scan.walk_end <= at) return fail(ErrorKind::kIo, "PAGEMAP_SCAN does not advance");
    at = scan.walk_end;
  }
  return {};
}

}  // namespace godwit
