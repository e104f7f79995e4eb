// A move whose goals change, and that is ordered to its end, while it runs.
#include "tests/support/fake_migration.h"
#include "tests/support/fake_missing_pages.h"

namespace godwit::steered_move_test {
namespace {

using namespace std::chrono_literals;
using testing::FakeMigration;

class SteeredMove : public FakeMigration {
 protected:
  /// Its guest writes for ever more than fits into a pause of no length.
  static Goals& without_a_pause(Goals& goals) {
    goals.max_downtime = 0ms;
    return goals;
  }

  /// Once memory has been copied, `act` steers it.
  Report steered(std::function<void()> act) {
    auto received = std::async(std::launch::async, [&] { return receive(); });
    auto journal = begun_journal();
    auto parts = source_parts(source_, source_, journal, steady_);
    parts.steering = &steering_;
    parts.change_rate_limit = [this](std::optional<BitRate> rate) { rate_ = rate; };
    parts.on_progress = [&, act = std::move(act)](const Progress& progress) {
      if (progress.phase != Phase::kCopying || progress.elapsed < 300ms || std::exchange(steered_, true)) return;
      act();
    };
    parts.on_note = on_note_;
    if (on_milestone_) parts.on_milestone = on_milestone_;
    Report report = run_source(std::move(parts));
    received.get();
    return report;
  }

  Steering steering_{without_a_pause(goals_)};
  static std::string said(const Status& status) { return status ? "done" : status.error().message; }

  bool steered_ = false;
  std::function<void(std::string_view)> on_note_;
  OnMilestone on_milestone_;
  std::optional<BitRate> rate_;
};

TEST_F(SteeredMove, SwitchesOverWhenItIsToldTo) {
  const auto report = steered([&] { EXPECT_TRUE(steering_.order(Order::kSwitchOver)); });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_TRUE(sink_.runs());
  EXPECT_FALSE(source_.runs());
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

TEST_F(SteeredMove, ConvergesByAWiderGoal) {
  const auto report = steered([&] {
    EXPECT_TRUE(steering_.change({.max_downtime = 5s}));
    EXPECT_TRUE(steering_.change({.bandwidth = std::optional(BitRate{8'000'000'000})}));
  });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(report.max_downtime, 5s);
  EXPECT_EQ(rate_, BitRate{8'000'000'000});
}

TEST_F(SteeredMove, GivesUpByAnEarlierDeadline) {
  const auto report = steered([&] { EXPECT_TRUE(steering_.change({.deadline = std::optional<Duration>(2s)})); });
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("--deadline"), std::string::npos) << report.error->message;
}

/// Nobody would look at it any more.
TEST_F(SteeredMove, RefusesWhatComesOnceItHasBegunToPauseTheGuest) {
  std::string ordered, changed;
  unsigned looks = 0;
  source_.on_call = [&](std::string_view what) {
    if (what != "check_unchanged" || looks++ > 0) return;
    ordered = said(steering_.order(Order::kSwitchOver));
    changed = said(steering_.change({.bandwidth = std::optional(BitRate{8'000'000})}));
  };
  const auto report = steered([&] { EXPECT_TRUE(steering_.change({.max_downtime = 5s})); });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(ordered, "the switchover has begun already");
  EXPECT_EQ(changed, "the switchover has begun already: nothing can be changed any more");
}

TEST_F(SteeredMove, RefusesWhatComesOnceTheGuestIsAboutToRunAtTheDestination) {
  goals_.may_be_ordered = true;
  testing::MissingPagesSeen seen;
  sink_.on_missing_pages = [&]() -> Result<std::unique_ptr<MissingPages>> {
    return std::make_unique<testing::FakeMissingPages>(sink_.plain(), seen, 7);
  };
  std::string ordered, changed;
  on_note_ = [&](std::string_view note) {
    if (!note.starts_with("the guest will run at the destination")) return;
    ordered = said(steering_.order(Order::kSwitchOver));
    changed = said(steering_.change({.max_downtime = 5s}));
  };
  const auto report = steered([&] { EXPECT_TRUE(steering_.order(Order::kPostcopy)); });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_TRUE(report.postcopy);
  EXPECT_NE(ordered.find("about to run at the destination"), std::string::npos) << ordered;
  EXPECT_NE(changed.find("only timeout and bandwidth"), std::string::npos) << changed;
}

TEST_F(SteeredMove, IsNotCancelledOnceItIsBeingCommitted) {
  std::string cancelled;
  on_milestone_ = [&](Milestone milestone) {
    if (milestone != Milestone::kCommitted) return;
    cancelled = said(steering_.cancel());
  };
  const auto report = steered([&] { EXPECT_TRUE(steering_.order(Order::kSwitchOver)); });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(cancelled, "the move has been committed already");
}

TEST_F(SteeredMove, IsNotCommittedOnceItHasBeenCancelled) {
  on_milestone_ = [&](Milestone milestone) {
    if (milestone != Milestone::kPrepared) return;
    EXPECT_TRUE(steering_.cancel());
  };
  const auto report = steered([&] { EXPECT_TRUE(steering_.order(Order::kSwitchOver)); });
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kCancelled) << report.error->message;
}

/// The fake destination cannot wait for memory; nor does the offer end the move.
TEST_F(SteeredMove, GoesOnWhereAnOrderIsRefused) {
  goals_.may_be_ordered = true;
  Status ordered;
  const auto report = steered([&] {
    ordered = steering_.order(Order::kPostcopy);
    EXPECT_TRUE(steering_.order(Order::kSwitchOver));
  });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  ASSERT_FALSE(ordered);
  EXPECT_NE(ordered.error().message.find("cannot wait for memory"), std::string::npos) << ordered.error().message;
  EXPECT_EQ(report.lanes, goals_.lanes + 1) << "the connection for urgent pages is a lane then";
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

}  // namespace
}  // namespace godwit::steered_move_test
