// The order in which one of several lanes comes by its chunks.
//
// Chunks next to each other hold the same sort of content: files here, random bytes there. A lane that took them as
// they lie would now wait for its encoder, the link idle, and then for the link, the encoder idle. So it goes through
// sixteen stretches of its memory at once, a chunk of each in turn: what one has too much of, others have too little
// of.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/lane_shares.h"

namespace godwit {

/// One sweep over a lane's chunks, of `chunk_count`.
class SweepOrder {
 public:
  static constexpr std::uint32_t kStretches = 16;

  SweepOrder(std::uint32_t chunk_count, std::uint32_t lane, const LaneShares& shares) noexcept
      : lane_(lane),
        shares_(shares),
        own_(shares.count(chunk_count, lane)),
        length_((own_ + kStretches - 1) / kStretches) {}

  /// The next chunk, none after the last: as they lie until `spread` is first true, then all of them from all stretches
  /// in turn. So a sweep of which the order changes comes by some chunks twice.
  std::optional<ChunkIndex> next(bool spread) noexcept {
    if (spread && !spread_) {
      spread_ = true;
      begin_ = at_ = 0;
    }
    if (at_ >= own_) {
      if (!spread_ || ++begin_ >= length_) return std::nullopt;
      at_ = begin_;
    }
    const ChunkIndex chunk = shares_.chunk_at(lane_, at_);
    at_ += spread_ ? length_ : 1;
    return chunk;
  }

 private:
  std::uint32_t lane_;
  LaneShares shares_;
  std::uint32_t own_;     ///< chunks of this lane
  std::uint32_t length_;  ///< of a stretch, in own chunks
  std::uint32_t begin_ = 0;
  std::uint32_t at_ = 0;
  bool spread_ = false;
};

}  // namespace godwit
