#include "engine/block_ring.h"

namespace godwit {

namespace {
constexpr std::size_t kBlockAlignment = 64;
}

LaneBlock::LaneBlock() : storage_(2 * kChunkSize + kBlockAlignment) {
  void* start = storage_.data();
  std::size_t space = storage_.size();
  pages = static_cast<std::byte*>(std::align(kBlockAlignment, 2 * kChunkSize, start, space));
  encoded = pages + kChunkSize;
}

void BlockRing::grow(std::size_t depth) {
  while (blocks_.size() < depth) {
    const std::uint64_t ticket = blocks_.size();
    blocks_.emplace_back().ticket = ticket;
    spare_.push_back(&blocks_.back());
  }
}

void BlockRing::push() noexcept {
  under_way_.push_back(spare_.back());
  spare_.pop_back();
}

void BlockRing::drop_oldest() noexcept {
  under_way_.front()->state = BlockState::kSpare;
  spare_.push_back(under_way_.front());
  under_way_.pop_front();
}

}  // namespace godwit
