// A block of a source lane, on its way from the copy of its pages to the connection.
#pragma once

#include <vector>

#include "engine/lane_levels.h"
#include "engine/order_ring.h"
#include "wire/block.h"
#include "wire/frame.h"

namespace godwit {

struct LaneBlock {
  LaneBlock();
  Bytes input() const noexcept { return {pages, header.block}; }
  /// Goes on with a copy of the block. What it was in is the caller's: somebody may still read it.
  std::vector<std::byte> change_memory();

  ItemState state = ItemState::kSpare;
  std::uint64_t ticket = 0;
  std::size_t encoded_size = 0;  ///< once ready; 0: it goes raw
  bool by_cpu = false;           ///< though its level is a device's
  std::byte* pages = nullptr;    ///< kChunkSize, aligned for the kernels: the block, before it is encoded
  std::byte* encoded = nullptr;  ///< kChunkSize
  wire::TailBuilder tail;
  wire::FrameHeader header;
  LaneLevels::Choice choice;
  Duration encoding{};  ///< the lane's CPU time

 private:
  void find_room() noexcept;
  std::vector<std::byte> storage_;
};

using BlockRing = OrderRing<LaneBlock>;

}  // namespace godwit
