#include "tracking/last_scan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "tracking/data_look.h"

namespace godwit {
namespace {

// Some 70 us of scanning.
constexpr std::uint64_t kLastScanSlice = 64 * kMiB;
// Of a gap. Page tables that are not there are passed over as wholes, but those that were given back page by page are
// there; a file is asked once for all of a gap.
constexpr std::uint64_t kGapSlice = kGiB;
constexpr std::uint64_t kFileGapSlice = 256 * kGiB;
// Chunks that are posted together: all of an armed slice, twice over.
constexpr std::size_t kPostedTogether = 2 * (kLastScanSlice / kChunkSize + 1);

}  // namespace

LastScan::LastScan(ScanCrew& crew) : crew_(crew), shares_(crew.members()) {
  for (Share& share : shares_) share.found.reserve(kPostedTogether);
}

void LastScan::plan(std::span<const TrackedRange> ranges, std::span<const ArmedStretches> armed) {
  slices_.clear();
  chunks_ = 0;
  const auto add = [this](const TrackedRange& range, const std::vector<Stretch>& stretches, bool are_armed) {
    const std::uint64_t most = are_armed                               ? kLastScanSlice
                               : range.populated == Populated::kInFile ? kFileGapSlice
                                                                       : kGapSlice;
    for (const Stretch& each : stretches) {
      for (std::uint64_t at = each.begin; at < each.end; at += most) {
        slices_.push_back({&range, {at, std::min(at + most, each.end)}, are_armed});
      }
    }
  };
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    add(ranges[i], armed[i].gaps(), false);
    add(ranges[i], armed[i].armed(), true);
    chunks_ = std::max(chunks_, ranges[i].first_chunk.value + ranges[i].chunks());
  }
}

Result<std::uint64_t> LastScan::post(Board& board) {
  if (chunks_ > board.chunk_count()) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("a board of {} chunks for {}", board.chunk_count(), chunks_));
  }
  for (Share& share : shares_) share.pages = 0;
  const auto scan = [this, &board](std::size_t member, PageScanner& scanner, std::size_t slice) {
    return scan_slice(shares_[member], scanner, slices_[slice], board);
  };
  TRY(crew_.share(slices_.size(), scan));
  std::uint64_t pages = 0;
  for (const Share& share : shares_) pages += share.pages;
  return pages;
}

/// ALLOCATES NOTHING: what is captured is no more than two words, which std::function keeps in itself.
Status LastScan::scan_slice(Share& share, PageScanner& scanner, const Slice& slice, Board& board) {
  struct Found {
    Share& share;
    const TrackedRange& range;
    Board& board;
    void operator()(const Stretch& each) { add(share, range, each, board); }
  } found{share, *slice.range, board};
  share.found.clear();
  if (slice.armed) {
    TRY(scanner.look(found.range.address + slice.stretch.begin, slice.stretch.length(),
                     [&found](std::uint64_t start, std::uint64_t end) {
                       found({start - found.range.address, end - found.range.address});
                     }));
  } else {
    TRY(look_for_data(scanner, found.range, slice.stretch, std::ref(found)));
  }
  post_found(share, board);
  return {};
}

void LastScan::add(Share& share, const TrackedRange& range, const Stretch& found, Board& board) {
  for (std::uint64_t at = found.begin; at < found.end;) {
    const std::uint64_t end = std::min(found.end, (at / kChunkSize + 1) * kChunkSize);
    if (share.found.size() == share.found.capacity()) post_found(share, board);
    append_run(share.found, range.first_chunk, at / kPageSize, (end - at) / kPageSize);
    at = end;
  }
}

/// Where its answer was full the kernel goes on a little before that: what it has told twice counts once.
void LastScan::post_found(Share& share, Board& board) {
  normalise(share.found);
  for (const PagesOfChunk& entry : share.found) {
    board.post(entry.chunk, entry.pages);
    share.pages += page_count(entry.pages);
  }
  share.found.clear();
}

}  // namespace godwit
