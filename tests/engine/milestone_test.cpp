#include "engine/milestone.h"

#include <gtest/gtest.h>

#include <set>

namespace godwit::milestone_test {
namespace {

TEST(Milestone, EachHasANameOfItsOwnThatLeadsBackToIt) {
  std::set<std::string_view> names;
  for (const Milestone milestone : all_milestones()) {
    EXPECT_TRUE(names.insert(name_of(milestone)).second) << name_of(milestone);
    EXPECT_EQ(milestone_from(name_of(milestone)), milestone) << name_of(milestone);
  }
  // The list has them all.
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Milestone::kDone) + 1);
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_EQ(name_of(static_cast<Milestone>(names.size())), "unknown");
}

TEST(Milestone, OtherNamesLeadNowhere) {
  for (const char* name : {"", "unknown", "Copying", "copying ", "handing_over"}) {
    EXPECT_EQ(milestone_from(name), std::nullopt) << name;
  }
}

}  // namespace
}  // namespace godwit::milestone_test
