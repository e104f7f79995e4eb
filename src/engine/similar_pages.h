// Where a lane has sent a page like this one before: most pages are like no other, but one that is costs eight bytes
// and what differs.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "memory/kernels.h"
#include "wire/block.h"

namespace godwit {

/// Owned by one lane. A hint only, which the caller checks: what it names may have been sent again since.
class SimilarPages {
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Place {
    std::uint64_t signature = 0;
    std::uint32_t chunk = 0;
    std::uint32_t page = kNone;
  };

 public:
  /// `limit` in bytes; 16 for each page that it can remember.
  explicit SimilarPages(std::size_t limit) : places_(std::bit_floor(limit / sizeof(Place))) {}

  /// Bytes for all pages of so many chunks.
  static constexpr std::size_t all(std::size_t chunks) noexcept { return chunks * kPagesPerChunk * sizeof(Place); }

  /// The page that was last noted under this signature, and from now on this one.
  std::optional<wire::PageReference> swap(std::uint64_t signature, const wire::PageReference& page) noexcept {
    if (places_.empty()) return std::nullopt;
    Place& place = places_[signature & (places_.size() - 1)];
    const Place before = place;
    place = {signature, page.chunk.value, page.page};
    if (before.signature != signature || before.page == kNone) return std::nullopt;
    return wire::PageReference{ChunkIndex{before.chunk}, before.page};
  }

  /// What a page shares with pages like it: its middle half, because what differs between two copies of something is
  /// mostly a head or a foot (a header, a checksum). A middle that is one sub-block again and again says nothing: then
  /// all of it.
  static std::uint64_t signature(const PageHashes& hashes) noexcept {
    constexpr std::size_t kEdge = kSubBlocksPerPage / 4;
    const auto middle = std::span(hashes).subspan<kEdge, kSubBlocksPerPage - 2 * kEdge>();
    const bool varied = std::ranges::adjacent_find(middle, std::ranges::not_equal_to()) != middle.end();
    std::uint64_t sum = 0;
    for (const std::uint64_t hash : varied ? std::span<const std::uint64_t>(middle) : std::span(hashes)) {
      sum = std::rotl(sum, 23) * 0x9e3779b97f4a7c15 + hash;
    }
    return sum ^ (sum >> 32);
  }

 private:
  std::vector<Place> places_;
};

}  // namespace godwit
