// Which lane owns a chunk: some in a row belong to one lane, the next as many to the next lane, and so on in turn.
//
//   2 lanes, 8 in a row:   | 0-7: lane 0 | 8-15: lane 1 | 16-23: lane 0 | ...
//
// Eight in a row are a huge page of 2 MiB. Were they several lanes', these would come to the destination's empty huge
// page at the same time, and each would clear one, of which all but one are thrown away.
#pragma once

#include <algorithm>
#include <cstdint>

#include "memory/page.h"

namespace godwit {

struct LaneShares {
  std::uint32_t lanes = 1;
  std::uint32_t in_a_row = 1;

  static constexpr std::uint32_t kHugePage = 8;
  /// What a source offers: a small guest's lanes shall have chunks, all of them.
  static std::uint32_t offered(std::uint32_t chunks, std::uint32_t lanes) noexcept {
    return chunks / kHugePage / 2 < lanes ? 1 : kHugePage;
  }
  static constexpr std::uint32_t kMostInARow = 64;
  /// What a sink agrees to, of what a source offers.
  static std::uint32_t agreed(std::uint32_t in_a_row) noexcept {
    return in_a_row >= 1 && in_a_row <= kMostInARow ? in_a_row : 1;
  }

  std::uint32_t lane_of(ChunkIndex chunk) const noexcept { return chunk.value / in_a_row % lanes; }
  /// A lane's chunks, counted from 0 in rising order: the number of this one.
  std::uint32_t index_of(ChunkIndex chunk) const noexcept {
    return chunk.value / (in_a_row * lanes) * in_a_row + chunk.value % in_a_row;
  }
  ChunkIndex chunk_at(std::uint32_t lane, std::uint32_t index) const noexcept {
    return ChunkIndex{index / in_a_row * in_a_row * lanes + lane * in_a_row + index % in_a_row};
  }
  /// Of so many chunks, how many are this lane's.
  std::uint32_t count(std::uint32_t chunks, std::uint32_t lane) const noexcept {
    const std::uint32_t turn = in_a_row * lanes;
    const std::uint32_t rest = chunks % turn;
    const std::uint32_t before = lane * in_a_row;
    return chunks / turn * in_a_row + std::min(rest - std::min(rest, before), in_a_row);
  }
  /// Of so many chunks, how many a lane has at most.
  std::uint32_t most(std::uint32_t chunks) const noexcept { return count(chunks, 0); }
};

}  // namespace godwit
