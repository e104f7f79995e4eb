// Which pages the hypervisor's page tables do not hold, looked for by several threads: after the last harvest, the
// guest is paused.
//
//   slices of all ranges --> the crew: what is asked? --> PAGEMAP_SCAN of that --> who has asked
#pragma once

#include <array>
#include <span>
#include <vector>

#include "tracking/dirty_tracker.h"
#include "tracking/scan_crew.h"
#include "tracking/tracked_range.h"

namespace godwit {

class AbsentScan {
 public:
  /// The ranges and the crew outlive it. All that look() needs is allocated.
  AbsentScan(ScanCrew& crew, std::span<const TrackedRange> ranges);

  /// As DirtyTracker::find_absent().
  Status look(AbsentPages& pages);

 private:
  // Some 80 us of scanning.
  static constexpr std::size_t kSliceChunks = 256;
  struct Slice {
    const TrackedRange* range = nullptr;
    std::uint64_t first = 0;  ///< chunk of the range
  };
  /// Of a member of the crew.
  struct alignas(64) Share {
    std::array<PageWord, kSliceChunks> asked{}, absent{};
  };

  static Status look_at(Share& share, PageScanner& scanner, const Slice& slice, AbsentPages& pages);

  ScanCrew& crew_;
  std::vector<Slice> slices_;
  std::vector<Share> shares_;
};

}  // namespace godwit
