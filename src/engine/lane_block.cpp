#include "engine/lane_block.h"

#include <cstring>
#include <memory>
#include <utility>

namespace godwit {

namespace {
constexpr std::size_t kBlockAlignment = 64;
}

LaneBlock::LaneBlock() : storage_(2 * kChunkSize + kBlockAlignment) {
  find_room();
}

std::vector<std::byte> LaneBlock::change_memory() {
  std::vector<std::byte> before = std::exchange(storage_, std::vector<std::byte>(storage_.size()));
  const std::byte* const bytes = pages;
  find_room();
  std::memcpy(pages, bytes, header.block);
  return before;
}

void LaneBlock::find_room() noexcept {
  void* start = storage_.data();
  std::size_t space = storage_.size();
  pages = static_cast<std::byte*>(std::align(kBlockAlignment, 2 * kChunkSize, start, space));
  encoded = pages + kChunkSize;
}

}  // namespace godwit
