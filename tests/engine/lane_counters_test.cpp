// The sums over lanes have every counter in them, and each once.
#include "engine/lane_counters.h"

#include <gtest/gtest.h>

#include <set>

namespace godwit {
namespace {

TEST(LaneCounters, AddUpOneByOne) {
  LaneCounters counters;
  for (std::size_t i = 0; i < LaneCounters::kAll.size(); ++i) counters.*LaneCounters::kAll[i].count = i + 1;
  LaneTotals totals;
  counters.add_to(totals);
  counters.add_to(totals);
  for (std::size_t i = 0; i < LaneTotals::kAll.size(); ++i) {
    EXPECT_EQ(counters.*LaneCounters::kAll[i].count, i + 1) << "named twice";
    EXPECT_EQ(totals.*LaneTotals::kAll[i].count, 2 * (i + 1));
  }
  EXPECT_EQ(totals.pages_unchanged, 2 * counters.pages_unchanged);
  EXPECT_EQ(totals.busy_ns, 2 * counters.busy_ns);
}

TEST(LaneCounters, HaveKeysOfTheirOwn) {
  std::set<std::string_view> keys;
  for (const auto& counter : LaneTotals::kAll) {
    EXPECT_TRUE(counter.key.empty() || keys.insert(counter.key).second) << counter.key;
  }
  EXPECT_TRUE(keys.contains("pages_unchanged"));
}

}  // namespace
}  // namespace godwit
