// One chunk numbering across blocks of any size.
#include "memory/ram_layout.h"

#include <gtest/gtest.h>

#include "base/limits.h"
#include "base/units.h"
#include "memory/board.h"

namespace godwit::ram_layout_test {
namespace {

RamBlock block(std::string name, std::uint64_t size, std::uint64_t page_size = kPageSize) {
  return {.name = std::move(name), .size = size, .page_size = page_size, .first_chunk = {}};
}

TEST(RamLayout, NumbersBlocksInOrder) {
  const auto layout = RamLayout::make(
      {block("pc.ram", 2 * kChunkSize), block("pc.bios", 3 * kPageSize), block("vga.vram", kChunkSize + kPageSize)});
  ASSERT_TRUE(layout) << layout.error().message;
  EXPECT_EQ(layout->chunk_count(), 5u);
  EXPECT_EQ(layout->bytes(), 3 * kChunkSize + 4 * kPageSize);
  EXPECT_EQ(layout->blocks()[1].first_chunk, ChunkIndex{2});
  EXPECT_EQ(layout->blocks()[2].first_chunk, ChunkIndex{3});

  EXPECT_EQ(layout->valid_pages({0}), kAllPages);
  EXPECT_EQ(layout->valid_pages({1}), kAllPages);
  EXPECT_EQ(layout->valid_pages({2}), 7u);
  EXPECT_EQ(layout->valid_pages({3}), kAllPages);
  EXPECT_EQ(layout->valid_pages({4}), 1u);
}

TEST(RamLayout, EveryChunkIsFoundAgain) {
  const auto layout = RamLayout::make(
      {block("a", kPageSize), block("b", 5 * kChunkSize), block("c", kChunkSize - kPageSize), block("d", kChunkSize)});
  ASSERT_TRUE(layout);
  std::uint64_t pages = 0;
  for (std::uint32_t i = 0; i < layout->chunk_count(); ++i) {
    const auto place = layout->locate({i});
    ASSERT_LT(place.block, layout->blocks().size());
    ASSERT_LT(place.offset, layout->blocks()[place.block].size);
    EXPECT_EQ(layout->chunk_at(place.block, place.offset), ChunkIndex{i});
    EXPECT_EQ(layout->chunk_at(place.block, place.offset + kPageSize - 1), ChunkIndex{i});
    EXPECT_NE(layout->valid_pages({i}), 0u);
    pages += page_count(layout->valid_pages({i}));
  }
  EXPECT_EQ(pages * kPageSize, layout->bytes());
}

struct Refused {
  const char* what;
  std::vector<RamBlock> blocks;
};

TEST(RamLayout, RefusesWhatCannotBeNumbered) {
  const std::vector<Refused> cases = {
      {"no block", {}},
      {"no name", {block("", kPageSize)}},
      {"a name twice", {block("a", kPageSize), block("b", kPageSize), block("a", kPageSize)}},
      {"a size of 0", {block("a", 0)}},
      {"half a page", {block("a", kPageSize + 2048)}},
      {"1 PiB", {block("a", std::uint64_t{1} << 50)}},
      {"the largest size", {block("a", ~std::uint64_t{0} - kPageSize + 1)}},
      {"1 PiB in all", {block("a", std::uint64_t{1} << 49), block("b", std::uint64_t{1} << 49)}},
      {"a page size of 0", {block("a", kPageSize, 0)}},
      {"a page size of three pages", {block("a", kPageSize, 3 * kPageSize)}},
      {"a page size below a page", {block("a", kPageSize, 2048)}},
  };
  for (const auto& refused : cases) {
    const auto layout = RamLayout::make(refused.blocks);
    ASSERT_FALSE(layout) << refused.what;
    EXPECT_EQ(layout.error().kind, ErrorKind::kInvalidArgument) << refused.what;
  }
}

TEST(RamLayout, TakesAllButOnePebibyte) {
  const auto layout = RamLayout::make({block("a", (std::uint64_t{1} << 50) - kChunkSize)});
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->chunk_count(), 0xffffffffu);
  EXPECT_EQ(layout->locate({0xfffffffe}).offset, (std::uint64_t{1} << 50) - 2 * kChunkSize);
}

/// 4 TiB in 256 DIMMs, each with a page too many, and as many blocks as there may be.
TEST(RamLayout, OfTheLargestVms) {
  for (const auto& [count, size] : {std::pair{std::size_t{256}, 16 * kGiB + kPageSize}, {most::kRamBlocks, 4 * kGiB}}) {
    std::vector<RamBlock> blocks;
    for (std::size_t i = 0; i < count; ++i) blocks.push_back(block("dimm" + std::to_string(i), size));
    const auto layout = RamLayout::make(std::move(blocks));
    ASSERT_TRUE(layout) << layout.error().message;
    EXPECT_EQ(layout->bytes(), count * size);
    for (std::size_t i = 0; i < count; ++i) {
      for (const std::uint64_t offset : {std::uint64_t{0}, kGiB + kChunkSize, size - kPageSize}) {
        const auto place = layout->locate(layout->chunk_at(i, offset));
        ASSERT_EQ(place.block, i);
        ASSERT_EQ(place.offset, offset / kChunkSize * kChunkSize);
      }
    }
    const ChunkIndex last{layout->chunk_count() - 1};
    EXPECT_EQ(layout->valid_pages(last), size % kChunkSize == 0 ? kAllPages : 1u);
    Board board(layout->chunk_count());
    board.post(last, 1);
    EXPECT_EQ(board.waiting(), 1u);
    EXPECT_EQ(board.claim(last), 1u);
  }
  const auto largest = RamLayout::make({block("a", most::kRam)});
  ASSERT_TRUE(largest) << largest.error().message;
  EXPECT_EQ(largest->chunk_count(), ~std::uint32_t{0});
}

}  // namespace
}  // namespace godwit::ram_layout_test
