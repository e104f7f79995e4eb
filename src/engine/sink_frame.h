// A frame at the sink, from its arrival until it is applied.
#pragma once

#include <optional>
#include <vector>

#include "engine/order_ring.h"
#include "engine/page_placer.h"
#include "wire/frame.h"

namespace godwit {

struct SinkFrame {
  MutableBytes payload() noexcept { return MutableBytes(payload_).first(header.payload); }
  /// The lane's own place for the decoded block.
  MutableBytes block() noexcept { return MutableBytes(block_).first(header.block); }
  /// Where it is decoded to.
  MutableBytes output() noexcept { return room ? *room->piece() : block(); }

  ItemState state = ItemState::kSpare;
  std::uint64_t ticket = 0;
  wire::FrameHeader header;
  std::optional<PageRoom> room;  ///< whole pages, of which the block consists, that are decoded right to their place

 private:
  std::vector<std::byte> payload_ = std::vector<std::byte>(kChunkSize);
  std::vector<std::byte> block_ = std::vector<std::byte>(kChunkSize);
};

using FrameRing = OrderRing<SinkFrame>;

}  // namespace godwit
