#include "tracking/absent_scan.h"

#include <algorithm>

namespace godwit {
namespace {

// A call to the kernel costs about what a scan of so many chunks costs.
constexpr std::size_t kGapWorthSkipping = 16;

/// Calls visit(first, end) for each stretch of words in which something is asked about.
template <typename Visit>
Status over_stretches(std::span<const PageWord> asked, Visit&& visit) {
  for (std::size_t first = 0; first < asked.size(); ++first) {
    if (asked[first] == 0) continue;
    std::size_t end = first + 1;
    for (std::size_t c = end; c < asked.size() && c < end + kGapWorthSkipping; ++c) {
      if (asked[c] != 0) end = c + 1;
    }
    TRY(visit(first, end));
    first = end;
  }
  return {};
}

}  // namespace

AbsentScan::AbsentScan(ScanCrew& crew, std::span<const TrackedRange> ranges) : crew_(crew), shares_(crew.members()) {
  for (const TrackedRange& range : ranges) {
    for (std::uint64_t first = 0; first < range.chunks(); first += kSliceChunks) slices_.push_back({&range, first});
  }
}

Status AbsentScan::look(AbsentPages& pages) {
  const auto look_at_slice = [this, &pages](std::size_t member, PageScanner& scanner, std::size_t slice) {
    return look_at(shares_[member], scanner, slices_[slice], pages);
  };
  return crew_.share(slices_.size(), look_at_slice);
}

/// ALLOCATES NOTHING: what is captured is no more than two words, which std::function keeps in itself.
Status AbsentScan::look_at(Share& share, PageScanner& scanner, const Slice& slice, AbsentPages& pages) {
  const TrackedRange& range = *slice.range;
  const std::size_t count = std::min<std::uint64_t>(kSliceChunks, range.chunks() - slice.first);
  const ChunkIndex first_chunk{range.first_chunk.value + static_cast<std::uint32_t>(slice.first)};
  const auto asked = std::span(share.asked).first(count);
  const auto absent = std::span(share.absent).first(count);
  std::ranges::fill(asked, PageWord{0});
  TRY(pages.ask(first_chunk, asked));
  const auto any = [](PageWord word) { return word != 0; };
  if (std::ranges::none_of(asked, any)) return {};
  std::ranges::fill(absent, PageWord{0});
  struct Marks {
    std::uint64_t address;
    std::span<PageWord> absent;
  } const marks{range.address + slice.first * kChunkSize, absent};
  TRY(over_stretches(asked, [&](std::size_t first, std::size_t end) {
    const std::uint64_t begin_at = first * kChunkSize;
    const std::uint64_t end_at = std::min(range.length - slice.first * kChunkSize, end * kChunkSize);
    return scanner.find_absent(
        marks.address + begin_at, end_at - begin_at, [&marks](std::uint64_t start, std::uint64_t stop) {
          add_pages(marks.absent, (start - marks.address) / kPageSize, (stop - start) / kPageSize);
        });
  }));
  for (std::size_t i = 0; i < count; ++i) absent[i] &= asked[i];
  if (std::ranges::none_of(absent, any)) return {};
  return pages.found(first_chunk, absent);
}

}  // namespace godwit
