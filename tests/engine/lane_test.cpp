// Two lanes with a connection between them: whatever is written in between, the sink ends with the source's bytes, and
// what need not travel does not.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/guest_writes.h"
#include "tests/support/lane_pair.h"

namespace godwit::lane_test {
namespace {

using testing::fill_at_random;
using testing::LanePair;
using testing::page_bit;
using testing::PlainMemory;
using testing::write_somehow;

constexpr CodecChoice kRaw{CodecId::kRaw};
constexpr std::size_t kPlenty = 4 << 20;

void poke(PlainMemory& memory, ChunkIndex chunk, unsigned page, std::size_t at, std::byte value) {
  memory.at(chunk, page)[at] = value;
}

struct Shape {
  std::string name;
  std::optional<CodecChoice> codec;
  std::size_t delta_memory;
  bool mappable = true;  ///< the sink's memory
  unsigned lanes = 1;
  bool places_whole_pages = false;  ///< the sink
};

constexpr std::uint32_t kChunks = 6;

class LaneExactness : public ::testing::TestWithParam<Shape> {};

TEST_P(LaneExactness, TheSinkEndsWithTheSourcesBytes) {
  for (const Kernels* kernels : kernels_for(probe_host())) {
    SCOPED_TRACE(std::string(kernels->name));
    std::mt19937_64 random(5);
    LanePair lanes(testing::ram_of_chunks(kChunks), {.codec = GetParam().codec,
                                                     .delta_memory = GetParam().delta_memory,
                                                     .lanes = GetParam().lanes,
                                                     .in_a_row = GetParam().lanes < kChunks ? 2U : 1U,
                                                     .kernels = *kernels,
                                                     .places_whole_pages = GetParam().places_whole_pages});
    lanes.there.mappable = GetParam().mappable;
    for (int round = 0; round < 60; ++round) {
      for (auto writes = random() % 200; writes > 0; --writes) {
        const ChunkIndex chunk{static_cast<std::uint32_t>(random() % kChunks)};
        const auto page = static_cast<unsigned>(random() % kPagesPerChunk);
        write_somehow(lanes.here, chunk, page, random);
        lanes.post(chunk, page_bit(page));
      }
      lanes.copy();
      ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
    }
    EXPECT_EQ(lanes.whole_pages().placed_pages() > 0, GetParam().places_whole_pages);
    const auto counters = lanes.counters();
    EXPECT_GT(counters.pages_zero, 0U);
    EXPECT_GT(counters.pages_same_fill, 0U);
    if (GetParam().delta_memory == kPlenty && GetParam().codec) {
      EXPECT_GT(counters.pages_delta, 0U);
      EXPECT_EQ(counters.pages_copied > 0, GetParam().lanes < kChunks) << "a copy is of another chunk of the lane";
      EXPECT_GT(counters.pages_unchanged, 0U);
    }
    if (GetParam().delta_memory == 0) {
      EXPECT_EQ(counters.pages_delta + counters.pages_unchanged, 0U);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, LaneExactness,
    ::testing::Values(Shape{"Raw", kRaw, kPlenty}, Shape{"RawWithoutDeltas", kRaw, 0},
                      Shape{"Lz4", CodecChoice{CodecId::kLz4, 1}, kPlenty},
                      Shape{"Zstd", CodecChoice{CodecId::kZstd, 1}, kPlenty},
                      Shape{"ZstdWithRoomForTwoChunks", CodecChoice{CodecId::kZstd, 1}, 40'000},
                      Shape{"ZstdIntoPrivateMemory", CodecChoice{CodecId::kZstd, 1}, kPlenty, false},
                      Shape{"ZstdOnTwoLanes", CodecChoice{CodecId::kZstd, 1}, kPlenty, true, 2},
                      Shape{"Lz4OnThreeLanes", CodecChoice{CodecId::kLz4, 1}, kPlenty, true, 3},
                      Shape{"RawOnMoreLanesThanChunks", kRaw, kPlenty, true, 8},
                      Shape{"ZstdInWholePages", CodecChoice{CodecId::kZstd, 1}, kPlenty, true, 2, true},
                      Shape{"RawInWholePages", kRaw, kPlenty, true, 1, true}, Shape{"Auto", std::nullopt, kPlenty},
                      Shape{"AutoOnTwoLanes", std::nullopt, kPlenty, true, 2}),
    [](const auto& shape) { return shape.param.name; });

TEST(SourceLane, SendsEverythingWhenItsOrderChanges) {
  constexpr std::uint32_t kMany = 100;
  std::mt19937_64 random(6);
  LanePair lanes(testing::ram_of_chunks(kMany), {.codec = CodecChoice{CodecId::kZstd, 1}, .delta_memory = kPlenty});
  for (int round = 0; round < 3; ++round) {
    for (std::uint32_t chunk = 0; chunk < kMany; ++chunk) {
      for (unsigned page = 0; page < kPagesPerChunk; ++page) write_somehow(lanes.here, {chunk}, page, random);
      lanes.post({chunk}, kAllPages);
    }
    lanes.board.announce();
    while (lanes.board.waiting() > kMany * kPagesPerChunk / 2) std::this_thread::yield();
    lanes.spread();  // in the middle of the first sweep
    lanes.copy();
    ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
  }
}

/// A page of random bytes that has been sent twice, so that the lane knows all about it.
class LaneBytes : public ::testing::Test {
 protected:
  void SetUp() override {
    fill_at_random(lanes_.here, kChunk, 3, random_);
    send(page_bit(3));
    fill_at_random(lanes_.here, kChunk, 3, random_);
    send(page_bit(3));
  }
  /// Bytes that it took to bring these pages over.
  std::uint64_t send(PageWord pages) {
    const auto before = lanes_.bytes_sent();
    lanes_.post(kChunk, pages);
    lanes_.copy();
    EXPECT_TRUE(lanes_.here.bytes() == lanes_.there.bytes());
    return lanes_.bytes_sent() - before - wire::kFrameHeaderSize;  // without the fence
  }

  static constexpr ChunkIndex kChunk{1};
  std::mt19937_64 random_{7};
  LanePair lanes_{testing::ram_of_chunks(3), {.codec = CodecChoice{CodecId::kZstd, 1}, .delta_memory = kPlenty}};
};

TEST_F(LaneBytes, APageRewrittenAsItWasIsNotSent) {
  EXPECT_EQ(send(page_bit(3)), 0U);
  EXPECT_EQ(lanes_.counters().pages_unchanged, 1U);
}

TEST_F(LaneBytes, AChangedByteOfAnOftenSentPageTakesHardlyMore) {
  poke(lanes_.here, kChunk, 3, 700, std::byte{1});
  EXPECT_LT(send(page_bit(3)), wire::kFrameHeaderSize + 40);
  poke(lanes_.here, kChunk, 3, 4000, std::byte{1});
  EXPECT_LT(send(page_bit(3)), wire::kFrameHeaderSize + 40) << "the old bytes are those of the last sending";
  EXPECT_EQ(lanes_.counters().pages_delta, 2U);
}

TEST_F(LaneBytes, APageSentOnceBeforeSendsItsChangedSubBlocks) {
  fill_at_random(lanes_.here, kChunk, 9, random_);
  EXPECT_GT(send(page_bit(9)), kPageSize);
  poke(lanes_.here, kChunk, 9, 0, std::byte{1});
  poke(lanes_.here, kChunk, 9, 4095, std::byte{1});
  const auto bytes = send(page_bit(9));
  EXPECT_GT(bytes, wire::kFrameHeaderSize + 2 * kSubBlockSize) << "random bytes, of which nothing is at hand";
  EXPECT_LT(bytes, wire::kFrameHeaderSize + 3 * kSubBlockSize);
}

TEST_F(LaneBytes, AWhollyNewPageComesWhole) {
  fill_at_random(lanes_.here, kChunk, 3, random_);
  EXPECT_GT(send(page_bit(3)), kPageSize);
  EXPECT_EQ(lanes_.counters().pages_delta, 0U);
}

TEST_F(LaneBytes, OneValueRepeatedTakesEightBytes) {
  std::memset(lanes_.here.at(kChunk, 5), 0xa5, kPageSize);
  EXPECT_LE(send(page_bit(5)), wire::kFrameHeaderSize + 8);
  EXPECT_EQ(lanes_.counters().pages_same_fill, 1U);
  poke(lanes_.here, kChunk, 5, 9, std::byte{1});
  EXPECT_LT(send(page_bit(5)), wire::kFrameHeaderSize + 100);
}

TEST_F(LaneBytes, ASimilarPageInAnotherChunkTakesEightBytes) {
  std::memcpy(lanes_.here.at(ChunkIndex{2}, 8), lanes_.here.at(kChunk, 3), kPageSize);
  const auto before = lanes_.bytes_sent();
  lanes_.post(ChunkIndex{2}, page_bit(8));
  lanes_.copy();
  EXPECT_LE(lanes_.bytes_sent() - before, 2 * wire::kFrameHeaderSize + 8);
  EXPECT_EQ(lanes_.counters().pages_copied, 1U);
  EXPECT_TRUE(lanes_.here.bytes() == lanes_.there.bytes());
}

TEST_F(LaneBytes, APageLikeAnotherTakesWhatDiffers) {
  std::memcpy(lanes_.here.at(ChunkIndex{2}, 8), lanes_.here.at(kChunk, 3), kPageSize);
  poke(lanes_.here, ChunkIndex{2}, 8, 0, std::byte{77});
  poke(lanes_.here, ChunkIndex{2}, 8, 4095, std::byte{77});
  const auto before = lanes_.bytes_sent();
  lanes_.post(ChunkIndex{2}, page_bit(8));
  lanes_.copy();
  EXPECT_LE(lanes_.bytes_sent() - before, 2 * wire::kFrameHeaderSize + 8 + 2 + 2 * kSubBlockSize);
  EXPECT_EQ(lanes_.counters().pages_copied, 1U);
  EXPECT_EQ(lanes_.counters().pages_delta, 0U);
  EXPECT_TRUE(lanes_.here.bytes() == lanes_.there.bytes());
}

/// What the sink would copy is the page as it was sent last, whatever it holds at the source by now.
TEST_F(LaneBytes, ASimilarPageIsComparedAsItWasSent) {
  std::memcpy(lanes_.here.at(ChunkIndex{2}, 8), lanes_.here.at(kChunk, 3), kPageSize);
  poke(lanes_.here, kChunk, 3, 2000, std::byte{77});  // written, and not yet sent
  lanes_.post(ChunkIndex{2}, page_bit(8));
  lanes_.copy();
  EXPECT_EQ(lanes_.counters().pages_copied, 1U);
  EXPECT_EQ(std::memcmp(lanes_.there.at(ChunkIndex{2}, 8), lanes_.here.at(ChunkIndex{2}, 8), kPageSize), 0);
}

TEST_F(LaneBytes, ASimilarPageThatIsSomethingElseByNowIsNone) {
  std::memcpy(lanes_.here.at(ChunkIndex{2}, 8), lanes_.here.at(kChunk, 3), kPageSize);
  fill_at_random(lanes_.here, kChunk, 3, random_);
  lanes_.post(kChunk, page_bit(3));
  lanes_.copy();
  lanes_.post(ChunkIndex{2}, page_bit(8));
  lanes_.copy();
  EXPECT_EQ(lanes_.counters().pages_copied, 0U);
  EXPECT_TRUE(lanes_.here.bytes() == lanes_.there.bytes());
}

TEST_F(LaneBytes, ASimilarPageWithAnEmptyMiddleTakesEightBytes) {
  fill_at_random(lanes_.here, kChunk, 8, random_);
  std::memset(lanes_.here.at(kChunk, 8) + kPageSize / 4, 0, kPageSize / 2);
  send(page_bit(8));
  std::memcpy(lanes_.here.at(ChunkIndex{2}, 8), lanes_.here.at(kChunk, 8), kPageSize);
  const auto before = lanes_.bytes_sent();
  lanes_.post(ChunkIndex{2}, page_bit(8));
  lanes_.copy();
  EXPECT_LE(lanes_.bytes_sent() - before, 2 * wire::kFrameHeaderSize + 8);
}

TEST_F(LaneBytes, PagesWithNothingButAnEmptyMiddleInCommonAreNotSimilar) {
  for (const unsigned page : {8U, 9U}) {
    for (const ChunkIndex chunk : {kChunk, ChunkIndex{2}}) {
      fill_at_random(lanes_.here, chunk, page, random_);
      std::memset(lanes_.here.at(chunk, page) + kPageSize / 4, 0, kPageSize / 2);
      lanes_.post(chunk, page_bit(page));
      lanes_.copy();
    }
  }
  EXPECT_EQ(lanes_.counters().pages_copied, 0U);
  EXPECT_TRUE(lanes_.here.bytes() == lanes_.there.bytes());
}

TEST_F(LaneBytes, WhileDevicesMayWriteThereEverythingComesWhole) {
  poke(lanes_.here, kChunk, 3, 0, std::byte{77});
  lanes_.fence(kDevicesFence);
  // A device has written to the page at the sink: what the source sends must not leave that in place.
  poke(lanes_.there, kChunk, 3, 2000, std::byte{99});
  lanes_.post(kChunk, page_bit(3));
  lanes_.fence(kLastFence);
  EXPECT_EQ(lanes_.counters().pages_delta, 0U);
  EXPECT_TRUE(lanes_.here.bytes() == lanes_.there.bytes());
}

}  // namespace
}  // namespace godwit::lane_test
