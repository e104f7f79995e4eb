// Every chunk of a lane once, whatever their number.
#include "engine/sweep_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace godwit::sweep_order_test {
namespace {

std::vector<std::uint32_t> sweep(std::uint32_t chunks, std::uint32_t lane, std::uint32_t lanes, bool spread) {
  std::vector<std::uint32_t> visited;
  SweepOrder order(chunks, lane, lanes);
  while (const auto chunk = order.next(spread)) visited.push_back(chunk->value);
  EXPECT_FALSE(order.next(spread)) << "begins again by itself";
  return visited;
}

TEST(SweepOrder, VisitsEachChunkOfALaneOnce) {
  for (const std::uint32_t chunks : {0U, 1U, 2U, 15U, 16U, 17U, 31U, 33U, 1000U}) {
    for (const std::uint32_t lanes : {1U, 3U, 16U}) {
      for (const bool spread : {false, true}) {
        SCOPED_TRACE(::testing::Message() << chunks << " chunks, " << lanes << " lanes, " << spread);
        std::vector<std::uint32_t> all;
        for (std::uint32_t lane = 0; lane < lanes; ++lane) {
          const auto visited = sweep(chunks, lane, lanes, spread);
          for (const auto chunk : visited) EXPECT_EQ(chunk % lanes, lane);
          all.insert(all.end(), visited.begin(), visited.end());
        }
        std::ranges::sort(all);
        ASSERT_EQ(all.size(), chunks);
        for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) EXPECT_EQ(all[chunk], chunk);
      }
    }
  }
}

TEST(SweepOrder, TakesAChunkOfEachStretchInTurn) {
  const auto visited = sweep(2 * 160, 1, 2, true);
  for (std::uint32_t i = 0; i < visited.size(); ++i) EXPECT_EQ(visited[i], 1 + 2 * (i % 16 * 10 + i / 16));
}

TEST(SweepOrder, ForgetsNoneWhenTheOrderChanges) {
  for (const unsigned after : {0U, 1U, 40U, 99U, 100U}) {
    SweepOrder order(100, 0, 1);
    std::set<std::uint32_t> visited;
    for (unsigned i = 0; i < after; ++i) EXPECT_EQ(order.next(false)->value, i);
    while (const auto chunk = order.next(true)) visited.insert(chunk->value);
    EXPECT_EQ(visited.size(), 100u) << after;
    EXPECT_FALSE(order.next(false)) << "it never changes back";
  }
}

}  // namespace
}  // namespace godwit::sweep_order_test
