// The first blocks of a memory: the same chunks, and nothing behind them.
#include "memory/first_blocks.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/plain_memory.h"

namespace godwit::first_blocks_test {
namespace {

using godwit::testing::PlainMemory;

RamLayout two_blocks() {
  return RamLayout::make({{.name = "pc.ram", .size = 2 * kChunkSize}, {.name = "vga.vram", .size = kChunkSize}})
      .value();
}

TEST(FirstBlocks, AreTheSameChunks) {
  PlainMemory whole(two_blocks());
  const auto first = first_blocks(whole, 1).value();
  ASSERT_EQ(first->layout().blocks().size(), 1u);
  EXPECT_EQ(first->layout().chunk_count(), 2u);
  const std::vector<std::byte> page(kPageSize, std::byte{7});
  ASSERT_TRUE(first->write(ChunkIndex{1}, 1, page));
  EXPECT_EQ(*whole.at(ChunkIndex{1}, 0), std::byte{7});
  std::vector<PageWord> data(2);
  ASSERT_TRUE(first->find_data(ChunkIndex{0}, data));
  EXPECT_EQ(data, (std::vector<PageWord>{0, 1}));
}

TEST(FirstBlocks, EndWhereTheOthersBegin) {
  PlainMemory whole(two_blocks());
  const auto first = first_blocks(whole, 1).value();
  std::vector<std::byte> page(kPageSize);
  EXPECT_FALSE(first->read(ChunkIndex{2}, 1, page));
  EXPECT_FALSE(first->write(ChunkIndex{2}, 1, page));
  EXPECT_FALSE(first->fill(ChunkIndex{2}, 1, page));
  EXPECT_FALSE(first->discard(ChunkIndex{2}, 1));
  EXPECT_FALSE(first->populate(ChunkIndex{2}, 1));
  EXPECT_FALSE(first->map(ChunkIndex{2}));
  std::vector<PageWord> data(3);
  EXPECT_FALSE(first->find_data(ChunkIndex{0}, data));
  EXPECT_FALSE(first->keep_holes(ChunkIndex{1}, std::span(data).first(2)));
  EXPECT_FALSE(first_blocks(whole, 3));
}

}  // namespace
}  // namespace godwit::first_blocks_test
