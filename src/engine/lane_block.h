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
  Bytes input() const noexcept { return in_place.empty() ? Bytes(pages, header.block) : in_place; }
  /// Goes on with a copy of the block. What it was in is the caller's: somebody may still read it.
  std::vector<std::byte> change_memory();

  ItemState state = ItemState::kSpare;
  std::uint64_t ticket = 0;
  std::size_t encoded_size = 0;  ///< once ready; 0: it goes raw
  bool by_cpu = false;           ///< though its level is a device's
  std::byte* pages = nullptr;    ///< kChunkSize, aligned for the kernels: the block, before it is encoded
  std::byte* encoded = nullptr;  ///< kChunkSize
  Bytes in_place;                ///< the block in guest RAM, where the lane has not copied it
  bool unread = false;           ///< no device has encoded it there: it has to be copied before it is sent
  bool is_dense = false;         ///< though the device has tried: it becomes no smaller
  bool not_by_device = false;
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
