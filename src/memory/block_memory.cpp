// The joined memory: checks every call against the layout and hands it to the block that holds the chunk.
#include "memory/block_memory.h"

#include <fmt/core.h>

#include <algorithm>

namespace godwit {

namespace {

class JoinedMemory final : public GuestMemory {
 public:
  JoinedMemory(RamLayout layout, std::vector<std::unique_ptr<BlockAccess>> blocks)
      : layout_(std::move(layout)), blocks_(std::move(blocks)) {}

  const RamLayout& layout() const noexcept override { return layout_; }

  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    TRY(check(chunk, pages, out.size()));
    const auto place = layout_.locate(chunk);
    return named(place, blocks_[place.block]->read(place.offset, pages, out));
  }

  std::optional<Bytes> view(ChunkIndex chunk, PageWord pages) const override {
    if (!check(chunk, pages) || !is_one_run(pages)) return std::nullopt;
    const auto place = layout_.locate(chunk);
    return blocks_[place.block]->view(place.offset, pages);
  }

  Status write(ChunkIndex chunk, PageWord pages, Bytes in) override {
    TRY(check(chunk, pages, in.size()));
    const auto place = layout_.locate(chunk);
    return named(place, blocks_[place.block]->write(place.offset, pages, in));
  }

  Status fill(ChunkIndex chunk, PageWord pages, Bytes in) override {
    TRY(check(chunk, pages, in.size()));
    const auto place = layout_.locate(chunk);
    return named(place, blocks_[place.block]->fill(place.offset, pages, in));
  }

  std::optional<MutableBytes> map(ChunkIndex chunk) noexcept override {
    if (chunk.value >= layout_.chunk_count()) return std::nullopt;
    const auto place = layout_.locate(chunk);
    const std::uint64_t left = layout_.blocks()[place.block].size - place.offset;
    return blocks_[place.block]->map(place.offset, std::min<std::uint64_t>(left, kChunkSize));
  }

  Status discard(ChunkIndex chunk, PageWord pages) override {
    TRY(check(chunk, pages));
    const auto place = layout_.locate(chunk);
    return named(place, blocks_[place.block]->discard(place.offset, pages));
  }

  Status populate(ChunkIndex chunk, PageWord pages) override {
    TRY(check(chunk, pages));
    const auto place = layout_.locate(chunk);
    return named(place, blocks_[place.block]->populate(place.offset, pages));
  }

  Status find_data(ChunkIndex first, std::span<PageWord> out) const override {
    std::ranges::fill(out, PageWord{0});
    return block_by_block(first, out, &BlockAccess::find_data);
  }

  Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const override {
    return block_by_block(first, pages, &BlockAccess::keep_holes);
  }

  Status keep_where_holes_may_be(ChunkIndex first, std::span<PageWord> pages) const override {
    return block_by_block(first, pages, &BlockAccess::keep_where_holes_may_be);
  }

 private:
  using Look = Status (BlockAccess::*)(std::uint64_t offset, std::span<PageWord> words) const;
  Status block_by_block(ChunkIndex first, std::span<PageWord> words, Look look) const {
    if (first.value > layout_.chunk_count() || words.size() > layout_.chunk_count() - first.value) {
      return fail(ErrorKind::kInvalidArgument,
                  fmt::format("no chunks {} to {}", first.value, first.value + words.size()));
    }
    while (!words.empty()) {
      const auto place = layout_.locate(first);
      const std::uint64_t left = layout_.blocks()[place.block].size - place.offset;
      const auto here = std::min<std::size_t>(words.size(), (left + kChunkSize - 1) / kChunkSize);
      TRY(named(place, (blocks_[place.block].get()->*look)(place.offset, words.first(here))));
      words = words.subspan(here);
      first.value += static_cast<std::uint32_t>(here);
    }
    return {};
  }

  Status check(ChunkIndex chunk, PageWord pages) const {
    if (chunk.value >= layout_.chunk_count() || (pages & ~layout_.valid_pages(chunk)) != 0) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("chunk {} has no such pages: {:#x}", chunk.value, pages));
    }
    return {};
  }
  Status check(ChunkIndex chunk, PageWord pages, std::size_t bytes) const {
    TRY(check(chunk, pages));
    if (bytes != page_count(pages) * kPageSize) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("{} bytes for {} pages", bytes, page_count(pages)));
    }
    return {};
  }

  Status named(const RamLayout::Place& place, Status status) const {
    if (status) return status;
    return fail(std::move(status).error().in(
        fmt::format("RAM block \"{}\" at {:#x}", layout_.blocks()[place.block].name, place.offset)));
  }

  RamLayout layout_;
  std::vector<std::unique_ptr<BlockAccess>> blocks_;
};

}  // namespace

std::unique_ptr<GuestMemory> join_blocks(RamLayout layout, std::vector<std::unique_ptr<BlockAccess>> blocks) {
  const auto fits = [](const RamBlock& block, const std::unique_ptr<BlockAccess>& access) {
    return access && access->size() == block.size;
  };
  if (!std::ranges::equal(layout.blocks(), blocks, fits)) return nullptr;
  return std::make_unique<JoinedMemory>(std::move(layout), std::move(blocks));
}

}  // namespace godwit
