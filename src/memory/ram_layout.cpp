// Numbering the chunks of all RAM blocks, and finding a chunk's place again.
//
//   block   | pc.ram                         | pc.bios     | vga.vram ...
//   chunk   | 0 | 1 | ... | n-1 (perhaps cut) | n           | n+1 | ...
#include "memory/ram_layout.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "base/limits.h"

namespace godwit {

namespace {
constexpr std::uint64_t kMaxChunks = most::kRam / kChunkSize;
static_assert(kMaxChunks == std::numeric_limits<std::uint32_t>::max());

constexpr std::uint64_t chunks_in(std::uint64_t bytes) noexcept {
  return bytes / kChunkSize + (bytes % kChunkSize != 0 ? 1 : 0);
}

Status check(const RamBlock& block) {
  if (block.name.empty()) return fail(ErrorKind::kInvalidArgument, "a RAM block has no name");
  if (block.size == 0 || block.size % kPageSize != 0) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("RAM block \"{}\": its size of {} bytes is not a multiple of {} above 0", block.name,
                            block.size, kPageSize));
  }
  if (block.page_size < kPageSize || !std::has_single_bit(block.page_size)) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("RAM block \"{}\": its page size of {} bytes is not a power of two from {} up", block.name,
                            block.page_size, kPageSize));
  }
  return {};
}
}  // namespace

Result<RamLayout> RamLayout::make(std::vector<RamBlock> blocks) {
  if (blocks.empty()) return fail(ErrorKind::kInvalidArgument, "a VM without RAM blocks");
  RamLayout layout;
  std::uint64_t chunks = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    RamBlock& block = blocks[i];
    TRY(check(block));
    const auto before = std::span(blocks).first(i);
    if (std::ranges::find(before, block.name, &RamBlock::name) != before.end()) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("two RAM blocks are called \"{}\"", block.name));
    }
    // Checked before they are added, so that no sum can wrap.
    if (block.size > most::kRam || chunks_in(block.size) > kMaxChunks - chunks) {
      return fail(ErrorKind::kInvalidArgument, "RAM blocks of 1 PiB or more in all");
    }
    block.first_chunk = ChunkIndex{static_cast<std::uint32_t>(chunks)};
    chunks += chunks_in(block.size);
    layout.bytes_ += block.size;
  }
  layout.chunk_count_ = static_cast<std::uint32_t>(chunks);
  layout.blocks_ = std::move(blocks);
  return layout;
}

RamLayout::Place RamLayout::locate(ChunkIndex chunk) const noexcept {
  const auto after = std::ranges::upper_bound(blocks_, chunk, {}, &RamBlock::first_chunk);
  const auto block = static_cast<std::size_t>(after - blocks_.begin()) - 1;
  return {block, std::uint64_t{chunk.value - blocks_[block].first_chunk.value} * kChunkSize};
}

PageWord RamLayout::valid_pages(ChunkIndex chunk) const noexcept {
  const Place place = locate(chunk);
  const std::uint64_t left = (blocks_[place.block].size - place.offset) / kPageSize;
  return left >= kPagesPerChunk ? kAllPages : (PageWord{1} << left) - 1;
}

ChunkIndex RamLayout::chunk_at(std::size_t block, std::uint64_t offset) const noexcept {
  return {blocks_[block].first_chunk.value + static_cast<std::uint32_t>(offset / kChunkSize)};
}

}  // namespace godwit
