// The scan of a paused guest: which pages have been written since they were armed, by several threads, none armed
// again.
//
//   plan():  what is armed, in slices, and the gaps in which something may have come to be since
//   post():  slices of all ranges --> the crew --> PAGEMAP_SCAN --> board
#pragma once

#include <span>
#include <vector>

#include "memory/board.h"
#include "memory/page_list.h"
#include "tracking/armed_stretches.h"
#include "tracking/scan_crew.h"
#include "tracking/tracked_range.h"

namespace godwit {

class LastScan {
 public:
  /// The crew outlives it. All that post() needs is allocated.
  explicit LastScan(ScanCrew& crew);

  /// What is to be scanned, in place of what was: armed[i] is ranges[i]'s. The ranges outlive it.
  void plan(std::span<const TrackedRange> ranges, std::span<const ArmedStretches> armed);
  /// Posts what has been written, and gives how many pages. Nothing is armed: it would find the same again.
  Result<std::uint64_t> post(Board& board);

 private:
  struct Slice {
    const TrackedRange* range = nullptr;
    Stretch stretch;
    bool armed = true;  ///< else a gap
  };
  /// Of a member of the crew.
  struct alignas(64) Share {
    std::vector<PagesOfChunk> found;  ///< not posted yet
    std::uint64_t pages = 0;
  };

  static Status scan_slice(Share& share, PageScanner& scanner, const Slice& slice, Board& board);
  static void add(Share& share, const TrackedRange& range, const Stretch& found, Board& board);
  static void post_found(Share& share, Board& board);

  ScanCrew& crew_;
  std::vector<Slice> slices_;
  std::uint64_t chunks_ = 0;  ///< up to the end of the last slice
  std::vector<Share> shares_;
};

}  // namespace godwit
