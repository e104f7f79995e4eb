#include "app/failpoint.h"

#include <gtest/gtest.h>

#include <csignal>

namespace godwit::failpoint_test {
namespace {

TEST(Failpoint, TakesSeveralSeparatedByCommas) {
  for (const char* text :
       {"", "copying:kill", "handing-over:stop,prepared:kill", "attached:stop,loaded:stop,done:kill"}) {
    const auto failpoint = failpoint_from(text);
    EXPECT_TRUE(failpoint) << text << ": " << failpoint.error().message;
  }
}

TEST(Failpoint, DiesAtItsMilestoneOnly) {
  const auto failpoint = failpoint_from("copying:kill,prepared:kill");
  ASSERT_TRUE(failpoint) << failpoint.error().message;
  for (const Milestone milestone : all_milestones()) {
    if (milestone != Milestone::kCopying && milestone != Milestone::kPrepared) (*failpoint)(milestone);
  }
  EXPECT_EXIT((*failpoint)(Milestone::kCopying), ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT((*failpoint)(Milestone::kPrepared), ::testing::KilledBySignal(SIGKILL), "");
}

/// A test whose milestone does not exist would look at a migration that nothing has happened to.
TEST(Failpoint, AnUnknownMilestoneIsAnErrorThatListsTheKnownOnes) {
  for (const char* text : {"copyng:kill", "prepared:stop,copyng:kill", "copyng:stop,prepared:kill"}) {
    const auto failpoint = failpoint_from(text);
    ASSERT_FALSE(failpoint) << text;
    EXPECT_EQ(failpoint.error().kind, ErrorKind::kInvalidArgument);
    const std::string& message = failpoint.error().message;
    EXPECT_NE(message.find("'copyng'"), std::string::npos) << message;
    for (const Milestone known : all_milestones()) {
      EXPECT_NE(message.find(name_of(known)), std::string::npos) << name_of(known) << " is not in: " << message;
    }
  }
}

TEST(Failpoint, AnythingElseThanKillOrStopIsAnError) {
  for (const char* text : {"copying", "copying:", "copying:abort", ":", "copying:kill,,prepared:kill"}) {
    const auto failpoint = failpoint_from(text);
    ASSERT_FALSE(failpoint) << text;
    EXPECT_NE(failpoint.error().message.find("MILESTONE:kill nor MILESTONE:stop"), std::string::npos);
  }
}

}  // namespace
}  // namespace godwit::failpoint_test
