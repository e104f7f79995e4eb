// A guest that writes too fast is slowed down, and stays so however its vCPUs change.
#include <algorithm>
#include <vector>

#include "tests/support/fake_migration.h"

namespace godwit::slowed_guest_test {
namespace {

using namespace std::chrono_literals;

class SlowedGuest : public testing::FakeMigration {
 protected:
  /// Its pause would always be too long. `slow` is asked for each share; the move ends once `enough`.
  Report move(std::function<Status(double)> slow, std::function<bool()> enough) {
    goals_.max_downtime = 0ms;
    goals_.guest_slowdown = 0.5;
    Steering steering(goals_);
    auto received = std::async(std::launch::async, [&] { return receive(); });
    auto journal = begun_journal();
    auto parts = source_parts(source_, source_, journal, steady_);
    parts.steering = &steering;
    parts.slow_guest = [&](double share) {
      shares_.push_back(share);
      return slow(share);
    };
    parts.lift_slowdown = lift_;
    parts.on_note = [&](std::string_view note) { notes_ += std::string(note) + "\n"; };
    parts.on_progress = [&](const Progress& progress) {
      if (progress.phase == Phase::kCopying && enough()) (void)steering.order(Order::kSwitchOver);
    };
    Report report = run_source(std::move(parts));
    received.get();
    return report;
  }
  /// How often the latest share was set.
  std::ptrdiff_t repeated() const { return shares_.empty() ? 0 : std::ranges::count(shares_, shares_.back()); }

  std::function<Status()> lift_;
  std::vector<double> shares_;
  std::string notes_;
};

/// Whoever slows it down looks for new vCPUs each time.
TEST_F(SlowedGuest, IsHeldToItsShareAgainAndAgain) {
  const auto report = move([](double) { return Status{}; }, [&] { return shares_.size() > 4 && repeated() > 2; });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_DOUBLE_EQ(shares_.back(), 1) << "as before, in the end";
  EXPECT_DOUBLE_EQ(report.least_share, 0.5);
}

/// What it writes with all of its CPU time before it stops would be sent in the pause.
TEST_F(SlowedGuest, IsSlowUntilItIsAskedToStop) {
  std::vector<double> at_the_order;
  source_.on_call = [&](std::string_view what) {
    if (what == "order_handover") at_the_order = shares_;
  };
  const auto report = move([](double) { return Status{}; }, [&] { return shares_.size() > 1; });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  ASSERT_FALSE(at_the_order.empty());
  EXPECT_LT(at_the_order.back(), 1);
  EXPECT_DOUBLE_EQ(shares_.back(), 1);
}

/// To put the threads of many vCPUs back takes long.
TEST_F(SlowedGuest, IsLetRunWhenItIsAskedToStopAndPutBackAfterItsPause) {
  std::vector<std::string> calls;
  source_.on_call = [&](std::string_view what) {
    if (what == "order_handover" || what == "harvest_last") calls.emplace_back(what);
  };
  lift_ = [&] {
    calls.emplace_back("lift");
    return Status{};
  };
  const auto slow = [&](double share) {
    if (share == 1) calls.emplace_back("put back");
    return Status{};
  };
  const auto report = move(slow, [&] { return shares_.size() > 1; });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(calls, (std::vector<std::string>{"order_handover", "lift", "harvest_last", "put back"}));
}

/// The first order finds that somebody else has paused it.
TEST_F(SlowedGuest, IsLetRunAlsoWhereItIsMovedAsSomebodyElseHasPausedIt) {
  source_.can_move_as_paused = true;
  unsigned orders = 0;
  bool lifted = false;
  source_.on_call = [&](std::string_view what) {
    if (what == "order_handover" && ++orders == 1) {
      source_.halt_by_others({Halt::Kind::kPaused, "somebody has paused it"});
      source_.order_fails = Error{ErrorKind::kRefused, "the guest does not run"};
    }
    if (what == "harvest_last") {
      EXPECT_TRUE(lifted);
    }
  };
  lift_ = [&] {
    lifted = true;
    return Status{};
  };
  const auto report = move([](double) { return Status{}; }, [&] { return shares_.size() > 1; });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(orders, 2U);
}

TEST_F(SlowedGuest, IsLetGoWhereItsNewVcpusCannotBeSlowedDown) {
  const auto slow = [&](double share) {
    const bool again = share < 1 && std::ranges::count(shares_, share) > 1;
    return again ? Status(fail(ErrorKind::kUnsupported, "a new vCPU is out of reach")) : Status{};
  };
  const auto report = move(slow, [&] { return notes_.find("out of reach") != std::string::npos; });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_NE(notes_.find("cannot be slowed down any more: a new vCPU"), std::string::npos) << notes_;
  EXPECT_DOUBLE_EQ(shares_.back(), 1);
}

}  // namespace
}  // namespace godwit::slowed_guest_test
