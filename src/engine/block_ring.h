// The blocks of one lane that are on their way from the copy of their pages to the connection.
//
//   spare --> filled --push()--> | newest | encoding | ready | ... | oldest | --ready: sent--> spare
//
// Encoders answer in any order and raw blocks need none, but a block leaves as the oldest only: frames build on those
// before them (a newer version of a page, a delta, a reference to another page), and the sink applies them as they
// come.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "engine/lane_levels.h"
#include "wire/block.h"
#include "wire/frame.h"

namespace godwit {

enum class BlockState {
  kSpare,
  kEncoding,  ///< an encoder has it
  kReady,     ///< to be sent
};

struct LaneBlock {
  LaneBlock();
  Bytes input() const noexcept { return {pages, header.block}; }

  BlockState state = BlockState::kSpare;
  std::uint64_t ticket = 0;      ///< its own, from the beginning
  std::size_t encoded_size = 0;  ///< once ready; 0: it goes raw
  std::byte* pages = nullptr;    ///< kChunkSize, aligned for the kernels: the block, before it is encoded
  std::byte* encoded = nullptr;  ///< kChunkSize
  wire::TailBuilder tail;
  wire::FrameHeader header;
  LaneLevels::Choice choice;
  Duration encoding{};  ///< the lane's CPU time

 private:
  std::vector<std::byte> storage_;
};

/// Owned by one lane. Declared before its encoders: they work on the blocks to their end.
class BlockRing {
 public:
  BlockRing() { grow(1); }
  /// So many blocks may be under way from now on, if it was less.
  void grow(std::size_t depth);

  /// A block to fill, which has no place yet; null while all are under way.
  LaneBlock* spare() noexcept { return spare_.empty() ? nullptr : spare_.back(); }
  /// spare()'s block takes its place behind all others.
  void push() noexcept;
  /// The next one to be sent, once it is ready; null if none is under way.
  LaneBlock* oldest() noexcept { return under_way_.empty() ? nullptr : under_way_.front(); }
  void drop_oldest() noexcept;

  /// Null if there is no such ticket.
  LaneBlock* find(std::uint64_t ticket) noexcept { return ticket < blocks_.size() ? &blocks_[ticket] : nullptr; }
  const std::deque<LaneBlock*>& under_way() const noexcept { return under_way_; }

 private:
  std::deque<LaneBlock> blocks_;  ///< never move
  std::vector<LaneBlock*> spare_;
  std::deque<LaneBlock*> under_way_;  ///< the oldest first
};

}  // namespace godwit
