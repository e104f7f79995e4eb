// More than RAM moves, and others have a say in the commit: fakes of both, in whole migrations of fake VMs.
#include <gtest/gtest.h>

#include "engine/commit_authority.h"
#include "engine/load.h"
#include "tests/support/fake_migration.h"

namespace godwit::testing {
namespace {

using namespace std::chrono_literals;

/// Converges after so many steps, and remembers what it was asked.
class FakeLoad final : public Load {
 public:
  Status start() override { return told("start"); }
  Status step() override {
    ++steps;
    return fail_step ? Status(fail(ErrorKind::kIo, "the fake disk cannot be read")) : Status{};
  }
  bool converged() const override { return steps >= needs; }
  Duration time_left() const override { return steps < soon_at ? Duration(10s) : Duration(1s); }
  Result<bool> ready() override {
    (void)told("ready");
    return looks_again-- <= 0;
  }
  Status stop_is_near() override { return told("stop_is_near"); }
  Status freeze(Ledger& ledger) override {
    ledger.enter("fake disk", {}, {});
    runs_when_frozen = source->runs();
    (void)told("freeze");
    return fail_freeze ? Status(fail(ErrorKind::kIo, "the fake disk's last blocks are lost")) : Status{};
  }
  void cancel() noexcept override { cancelled = true; }
  void finish() noexcept override { (void)told("finish"); }

  const FakeSourceVm* source = nullptr;
  unsigned steps = 0;
  unsigned needs = 0;
  unsigned soon_at = 0;  ///< steps after which little time is left
  int looks_again = 0;
  bool fail_step = false;
  bool fail_freeze = false;
  bool runs_when_frozen = true;
  bool cancelled = false;
  std::vector<std::string> calls;

 private:
  Status told(std::string_view what) {
    calls.emplace_back(what);
    return {};
  }
};

class FakeAuthority final : public CommitAuthority {
 public:
  Status may_commit() override {
    ++asked;
    if (on_asked) on_asked();
    if (refuses) return fail(ErrorKind::kRefused, "the fake manager says no");
    return {};
  }
  bool refuses = false;
  unsigned asked = 0;
  std::function<void()> on_asked;
};

class Loads : public FakeMigration {
 protected:
  void SetUp() override {
    FakeMigration::SetUp();
    heartbeat_ = 100ms;
    load_.source = &source_;
  }
  Report move() {
    auto sink = std::async(std::launch::async, [this] { return receive(); });
    auto journal = begun_journal();
    auto parts = source_parts(source_, source_, journal, steady_);
    parts.other_loads = {&load_};
    parts.authority = &authority_;
    auto report = run_source(std::move(parts));
    if (report.outcome != Outcome::kDone) listener_->abort();
    sink_report_ = sink.get();
    return report;
  }

  FakeLoad load_;
  FakeAuthority authority_;
  SinkReport sink_report_;
};

TEST_F(Loads, TheGuestIsStoppedOnlyWhenAllHaveConvergedAndAreReady) {
  load_.needs = 40;
  load_.looks_again = 3;
  const auto report = move();
  ASSERT_EQ(report.outcome, Outcome::kDone) << report.error->message;
  EXPECT_GE(load_.steps, 40u + 3);
  EXPECT_FALSE(load_.runs_when_frozen);
  EXPECT_EQ(load_.calls, (std::vector<std::string>{"start", "ready", "ready", "ready", "ready", "stop_is_near",
                                                   "freeze", "finish"}));
  EXPECT_FALSE(load_.cancelled);
  EXPECT_TRUE(std::ranges::any_of(report.ledger, [](const auto& entry) { return entry.name == "fake disk"; }));
  EXPECT_TRUE(sink_.runs());
  EXPECT_EQ(authority_.asked, 1u);
}

TEST_F(Loads, TheHypervisorBeginsWhenWhatIsLeftTakesAsLongAsItsOwnWork) {
  load_.needs = 40;
  load_.soon_at = 20;
  source_.preparation_takes = 2s;
  std::vector<std::string> calls;
  source_.on_call = [&](std::string_view what) {
    EXPECT_TRUE(what != "prepare_handover" || load_.steps >= load_.soon_at) << load_.steps;
    if (what.ends_with("_handover")) calls.emplace_back(what);
  };
  ASSERT_EQ(move().outcome, Outcome::kDone);
  EXPECT_EQ(calls, (std::vector<std::string>{"open_handover", "prepare_handover", "order_handover"}));
}

TEST_F(Loads, AHypervisorThatHasNothingToBeginWithIsNotAsked) {
  source_.on_call = [&](std::string_view what) { EXPECT_NE(what, "prepare_handover"); };
  EXPECT_EQ(move().outcome, Outcome::kDone);
}

TEST_F(Loads, AHypervisorThatCannotBeginEndsTheMoveWithTheGuestRunning) {
  source_.preparation_takes = 2s;
  source_.preparation_fails = true;
  const auto report = move();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("the fake hypervisor cannot begin"), std::string::npos);
}

TEST_F(Loads, AFailureOfOneEndsTheMoveWithTheGuestRunning) {
  load_.fail_step = true;
  const auto report = move();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("the fake disk cannot be read"), std::string::npos);
  EXPECT_TRUE(load_.cancelled);
  EXPECT_EQ(load_.calls.back(), "finish");
}

TEST_F(Loads, AFailureInThePauseDoesSoToo) {
  load_.fail_freeze = true;
  expect_source_runs_alone(move());
  EXPECT_TRUE(load_.cancelled);
  EXPECT_EQ(authority_.asked, 0u) << "nothing is to be committed";
}

TEST_F(Loads, AnAuthorityThatRefusesEndsTheMoveWithTheGuestRunning) {
  authority_.refuses = true;
  const auto report = move();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("the fake manager says no"), std::string::npos) << report.error->message;
  EXPECT_EQ(sink_.resumes, 0u);
  EXPECT_EQ(sink_report_.outcome, Outcome::kSourceRuns);
}

TEST_F(Loads, AnAuthorityIsAskedWithBothSidesPreparedAndBeforeAnythingIsOnRecord) {
  std::string record;
  authority_.on_asked = [&] {
    EXPECT_FALSE(source_.runs());
    EXPECT_FALSE(sink_.runs());
    EXPECT_EQ(sink_.loaded, "setupdevices");
    record = journal_record();
  };
  ASSERT_EQ(move().outcome, Outcome::kDone);
  EXPECT_NE(record, "committed");
}

/// It may take its time, and a sink that has died meanwhile has not been committed to.
TEST_F(Loads, ASinkThatDiesWhileTheAuthorityThinksIsNotCommittedTo) {
  authority_.on_asked = [&] {
    sink_.dead = true;
    for (const auto end = steady_.now() + 20s; !sink_.gave_up && steady_.now() < end;) std::this_thread::sleep_for(5ms);
  };
  expect_source_runs_alone(move());
  EXPECT_EQ(sink_.resumes, 0u);
}

}  // namespace
}  // namespace godwit::testing
