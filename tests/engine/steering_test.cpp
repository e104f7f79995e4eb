// What an operator may change of a move that is under way, and what is refused in a sentence.
#include "engine/steering.h"

#include <gtest/gtest.h>

namespace godwit::steering_test {
namespace {

using namespace std::chrono_literals;

std::string refused(const Status& status) {
  return status ? "done" : status.error().message;
}

bool says(const Status& status, std::string_view words) {
  return refused(status).find(words) != std::string::npos;
}

Steering copying(Goals goals = {}) {
  return Steering(std::move(goals));
}

TEST(Steering, GivesTheCoordinatorWhatHasChangedOnce) {
  Steering steering(Goals{.lanes = 3});
  steering.entered(Phase::kCopying, 10s);
  EXPECT_FALSE(steering.take());
  EXPECT_EQ(refused(steering.change({.max_downtime = 100ms})), "done");
  EXPECT_EQ(refused(steering.change({.bandwidth = std::optional(BitRate{5'000'000})})), "done");
  const auto taken = steering.take();
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->max_downtime, 100ms);
  EXPECT_EQ(taken->bandwidth, BitRate{5'000'000});
  EXPECT_EQ(taken->lanes, 3U);
  EXPECT_FALSE(steering.take());
  EXPECT_EQ(refused(steering.change({.bandwidth = std::optional<BitRate>()})), "done");
  EXPECT_FALSE(steering.take()->bandwidth);
}

TEST(Steering, RefusesGoalsThatContradictEachOtherAndKeepsTheOldOnes) {
  Steering steering = copying({.timeout = 60s});
  EXPECT_TRUE(says(steering.change({.deadline = std::optional<Duration>(90s)}), "is after timeout"));
  EXPECT_EQ(refused(steering.change({.deadline = std::optional<Duration>(30s)})), "done");
  EXPECT_TRUE(says(steering.change({.timeout = 20s}), "is after timeout"));
  EXPECT_EQ(steering.goals().timeout, 60s);
  EXPECT_EQ(steering.goals().deadline, 30s);
  EXPECT_TRUE(says(copying().change({.on_deadline = OnDeadline::kPause}), "say when"));
}

TEST(Steering, RefusesATimeThatHasPassed) {
  Steering steering = copying({.timeout = 1h});
  steering.entered(Phase::kCopying, 10s);
  steering.looked_at(40s);
  EXPECT_TRUE(says(steering.change({.deadline = std::optional<Duration>(30s)}), "have passed already"));
  EXPECT_TRUE(says(steering.change({.timeout = 40s}), "have passed already"));
  EXPECT_EQ(refused(steering.change({.timeout = 41s})), "done");
}

TEST(Steering, OrdersASwitchoverOnlyWhileMemoryIsCopied) {
  const std::pair<Phase, const char*> cases[] = {{Phase::kConnecting, "not being copied yet"},
                                                 {Phase::kTracking, "not being copied yet"},
                                                 {Phase::kHandingOver, "has begun already"},
                                                 {Phase::kPaused, "has begun already"},
                                                 {Phase::kPostcopy, "runs at the destination already"},
                                                 {Phase::kCommitted, "committed already"},
                                                 {Phase::kDone, "committed already"},
                                                 {Phase::kRollingBack, "failed already"}};
  for (const auto& [phase, words] : cases) {
    Steering steering = copying();
    steering.postcopy_is({});
    steering.entered(phase, 1s);
    for (const Order order : {Order::kSwitchOver, Order::kPostcopy}) {
      EXPECT_TRUE(says(steering.order(order), words)) << name_of(phase) << ": " << refused(steering.order(order));
    }
    EXPECT_FALSE(steering.take()) << name_of(phase);
  }
  Steering steering = copying();
  steering.entered(Phase::kCopying, 1s);
  EXPECT_EQ(refused(steering.order(Order::kSwitchOver)), "done");
  EXPECT_EQ(steering.take()->order, Order::kSwitchOver);
  EXPECT_TRUE(says(steering.order(Order::kPostcopy), "cannot run"));
  EXPECT_TRUE(says(steering.order(Order::kSwitchOver), "ordered already"));
}

TEST(Steering, OrdersPostcopyOnlyWhereBothSidesCan) {
  Steering steering = copying({.deadline = 10s});
  steering.entered(Phase::kCopying, 1s);
  EXPECT_TRUE(says(steering.order(Order::kPostcopy), "has not been asked"));
  steering.postcopy_is("its memory is of huge pages");
  EXPECT_TRUE(says(steering.order(Order::kPostcopy), "huge pages"));
  EXPECT_TRUE(says(steering.change({.on_deadline = OnDeadline::kPostcopy}), "huge pages"));
  steering.postcopy_is({});
  EXPECT_EQ(refused(steering.change({.on_deadline = OnDeadline::kPostcopy})), "done");
  EXPECT_EQ(refused(steering.order(Order::kPostcopy)), "done");
}

TEST(Steering, ChangesNothingButTheRateOnceItIsLate) {
  Steering steering = copying();
  steering.entered(Phase::kPostcopy, 1s);
  EXPECT_TRUE(says(steering.change({.max_downtime = 100ms}), "nothing can be changed"));
  EXPECT_EQ(refused(steering.change({.bandwidth = std::optional(BitRate{5'000'000})})), "done");
  steering.entered(Phase::kPaused, 1s);
  EXPECT_TRUE(says(steering.change({.bandwidth = std::optional(BitRate{5'000'000})}), "begun already"));
}

/// What is not refused is seen before the end begins.
TEST(Steering, BeginsAnEndOnlyWhenAllIsTakenThatWasAskedFor) {
  Steering steering = copying();
  steering.postcopy_is({});
  steering.entered(Phase::kCopying, 1s);
  EXPECT_EQ(refused(steering.order(Order::kPostcopy)), "done");
  EXPECT_FALSE(steering.begin(Steering::End::kSwitchover));
  EXPECT_EQ(refused(steering.change({.max_downtime = 70ms})), "done");
  ASSERT_TRUE(steering.take());
  EXPECT_TRUE(steering.begin(Steering::End::kSwitchover));
  EXPECT_TRUE(says(steering.change({.max_downtime = 100ms}), "switchover has begun already"));
  EXPECT_TRUE(says(steering.change({.bandwidth = std::optional(BitRate{5'000'000})}), "nothing can be changed"));
  EXPECT_TRUE(says(steering.order(Order::kSwitchOver), "switchover has begun already"));
  steering.open_again();
  EXPECT_EQ(refused(steering.change({.max_downtime = 100ms})), "done");
}

TEST(Steering, TakesOnlyWhatStillCountsWhereTheGuestIsAboutToRunAtTheDestination) {
  Steering steering = copying();
  steering.postcopy_is({});
  steering.entered(Phase::kCopying, 1s);
  ASSERT_TRUE(steering.begin(Steering::End::kPostcopy));
  for (const Order order : {Order::kSwitchOver, Order::kPostcopy}) {
    EXPECT_TRUE(says(steering.order(order), "is about to run at the destination")) << refused(steering.order(order));
  }
  EXPECT_TRUE(says(steering.change({.max_downtime = 100ms}), "only timeout and bandwidth"));
  EXPECT_TRUE(says(steering.change({.deadline = std::optional<Duration>(30s)}), "only timeout and bandwidth"));
  EXPECT_EQ(refused(steering.change({.timeout = 30s})), "done");
  EXPECT_EQ(refused(steering.change({.bandwidth = std::optional(BitRate{5'000'000})})), "done");
  EXPECT_FALSE(steering.begin(Steering::End::kSwitchover));
  ASSERT_TRUE(steering.take());
  EXPECT_TRUE(steering.begin(Steering::End::kSwitchover));
  EXPECT_TRUE(says(steering.change({.timeout = 30s}), "nothing can be changed"));
}

TEST(Steering, OfACancelAndACommitTheFirstCounts) {
  Steering cancelled = copying();
  cancelled.entered(Phase::kPaused, 1s);
  EXPECT_EQ(refused(cancelled.cancel()), "done");
  EXPECT_FALSE(cancelled.commit());
  Steering committed = copying();
  committed.entered(Phase::kPaused, 1s);
  EXPECT_TRUE(committed.commit());
  EXPECT_TRUE(says(committed.cancel(), "committed already"));
}

TEST(Steering, CancelsUntilTheCommit) {
  Steering steering = copying();
  for (const Phase phase :
       {Phase::kConnecting, Phase::kTracking, Phase::kCopying, Phase::kHandingOver, Phase::kPaused}) {
    steering.entered(phase, 1s);
    EXPECT_EQ(refused(steering.cancel()), "done") << name_of(phase);
  }
  for (const Phase phase : {Phase::kCommitted, Phase::kPostcopy, Phase::kDone, Phase::kRollingBack}) {
    steering.entered(phase, 1s);
    EXPECT_TRUE(says(steering.cancel(), "already")) << name_of(phase);
  }
}

}  // namespace
}  // namespace godwit::steering_test
