#include "engine/lane_block.h"

#include <memory>

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

}  // namespace godwit
