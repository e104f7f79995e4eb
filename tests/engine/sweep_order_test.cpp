// Every chunk of a lane once, whatever their number.
#include "engine/sweep_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace godwit::sweep_order_test {
namespace {

std::vector<std::uint32_t> sweep(std::uint32_t chunks, std::uint32_t lane, const LaneShares& shares, bool spread) {
  std::vector<std::uint32_t> visited;
  SweepOrder order(chunks, lane, shares);
  while (const auto chunk = order.next(spread)) visited.push_back(chunk->value);
  EXPECT_FALSE(order.next(spread)) << "begins again by itself";
  return visited;
}

TEST(SweepOrder, VisitsEachChunkOfALaneOnce) {
  for (const std::uint32_t chunks : {0U, 1U, 2U, 15U, 16U, 17U, 31U, 33U, 1000U}) {
    for (const LaneShares shares : {LaneShares{1, 1}, {3, 1}, {16, 1}, {1, 8}, {2, 8}, {3, 8}, {5, 64}}) {
      for (const bool spread : {false, true}) {
        SCOPED_TRACE(::testing::Message() << chunks << " chunks, " << shares.lanes << " lanes, " << shares.in_a_row
                                          << " in a row, " << spread);
        std::vector<std::uint32_t> all;
        for (std::uint32_t lane = 0; lane < shares.lanes; ++lane) {
          auto visited = sweep(chunks, lane, shares, spread);
          for (const auto chunk : visited) EXPECT_EQ(chunk / shares.in_a_row % shares.lanes, lane);
          EXPECT_EQ(visited.size(), shares.count(chunks, lane));
          EXPECT_LE(visited.size(), shares.most(chunks));
          std::ranges::sort(visited);
          for (std::uint32_t i = 0; i < visited.size(); ++i) EXPECT_EQ(shares.index_of(ChunkIndex{visited[i]}), i);
          all.insert(all.end(), visited.begin(), visited.end());
        }
        std::ranges::sort(all);
        ASSERT_EQ(all.size(), chunks);
        for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) EXPECT_EQ(all[chunk], chunk);
      }
    }
  }
}

/// Or lanes would come to the same huge page of the destination at the same time.
TEST(LaneShares, GiveAHugePageToOneLane) {
  const LaneShares shares{3, LaneShares::kHugePage};
  constexpr std::uint32_t kChunksOfAHugePage = (2 << 20) / kChunkSize;
  for (std::uint32_t chunk = 0; chunk < 100; ++chunk) {
    const std::uint32_t first = chunk / kChunksOfAHugePage * kChunksOfAHugePage;
    EXPECT_EQ(shares.lane_of(ChunkIndex{chunk}), shares.lane_of(ChunkIndex{first})) << chunk;
  }
}

TEST(LaneShares, AreWhatBothSidesKnow) {
  EXPECT_EQ(LaneShares::agreed(1), 1U);
  EXPECT_EQ(LaneShares::agreed(LaneShares::kHugePage), LaneShares::kHugePage);
  EXPECT_EQ(LaneShares::agreed(64), 64U);
  EXPECT_EQ(LaneShares::agreed(65), 1U);
  EXPECT_EQ(LaneShares::agreed(0), 1U);
  EXPECT_EQ(LaneShares::offered(1 << 20, 16), LaneShares::kHugePage);
  EXPECT_EQ(LaneShares::offered(47, 3), 1U) << "or one of them might have next to nothing";
  EXPECT_EQ(LaneShares::offered(48, 3), LaneShares::kHugePage);
}

TEST(SweepOrder, TakesAChunkOfEachStretchInTurn) {
  const auto visited = sweep(2 * 160, 1, {2}, true);
  for (std::uint32_t i = 0; i < visited.size(); ++i) EXPECT_EQ(visited[i], 1 + 2 * (i % 16 * 10 + i / 16));
}

TEST(SweepOrder, ForgetsNoneWhenTheOrderChanges) {
  for (const unsigned after : {0U, 1U, 40U, 99U, 100U}) {
    SweepOrder order(100, 0, {});
    std::set<std::uint32_t> visited;
    for (unsigned i = 0; i < after; ++i) EXPECT_EQ(order.next(false)->value, i);
    while (const auto chunk = order.next(true)) visited.insert(chunk->value);
    EXPECT_EQ(visited.size(), 100u) << after;
    EXPECT_FALSE(order.next(false)) << "it never changes back";
  }
}

}  // namespace
}  // namespace godwit::sweep_order_test
