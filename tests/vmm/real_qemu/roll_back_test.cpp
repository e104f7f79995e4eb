// Hand-overs that are undone at every point, the guest running as if nothing had been, and those of an engine that
// died.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/vmm/real_qemu/roll_back_base.h"
#include "vmm/qemu/handover.h"
#include "vmm/qemu/handover_mark.h"
#include "vmm/qemu/migration_end.h"
#include "vmm/qemu/migration_settings.h"

namespace godwit::qemu::roll_back_test {
namespace {

using namespace testing;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using Point = RecordingObserver::Point;

class StreamRollBackTest : public RollBackTest {};

TEST_P(RollBackTest, BeforeAnything) {
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(RollBackTest, AfterAPause) {
  ASSERT_TRUE(source_vm_->pause());
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

/// Whoever stopped it, or moved it away, has a reason: to let it run could make it run twice.
TEST_P(RollBackTest, LeavesAGuestThatSomebodyElseStopped) {
  ASSERT_TRUE(source_.vm.qmp->execute("stop"));
  EXPECT_FALSE(source_vm_->pause());
  EXPECT_FALSE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(source_vm_->roll_back());
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
}

TEST_P(RollBackTest, KnowsWhetherTheGuestStillStands) {
  EXPECT_FALSE(source_vm_->still_paused());
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  EXPECT_TRUE(source_vm_->still_paused());
  ASSERT_TRUE(let_run(*source_.vm.qmp, seconds(10)));
  EXPECT_FALSE(source_vm_->still_paused());
}

TEST_P(RollBackTest, RightAfterTheStart) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(RollBackTest, WhileTheStreamIsHeldBack) {
  observer_.hold_at(Point::kFirstBytes);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_held());
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

/// QEMU is still sending RAM, and no disk is what it waits for.
TEST_P(StreamRollBackTest, WhenSomebodyElseHasPausedTheGuestMeanwhile) {
  if (GetParam().ram != godwit::testing::Ram::kPrivate) GTEST_SKIP() << "QEMU sends too little to be held up";
  observer_.hold_at(Point::kFirstBytes);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_held());
  ASSERT_TRUE(source_.vm.qmp->execute("stop"));
  EXPECT_TRUE(observer_.await([](const auto& o) { return o.stopped_by_others.has_value(); }));
  observer_.let_go();
  ASSERT_TRUE(source_vm_->roll_back());
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
}

TEST_P(RollBackTest, WhenTheGuestHasStopped) {
  observer_.hold_at(Point::kGuestStopped);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_held());
  EXPECT_TRUE(observer_.stopped);
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(RollBackTest, WhenQemuHasCompleted) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_FALSE(observer_.failed) << observer_.failed->message;
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(RollBackTest, WhenTheLineBreaksBeforeTheStop) {
  observer_.fail_at(Point::kFirstBytes);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed);
  EXPECT_EQ(observer_.failed->kind, ErrorKind::kPeerLost);
  EXPECT_FALSE(observer_.ended);
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(RollBackTest, WhenTheLineBreaksAfterTheStop) {
  observer_.fail_at(Point::kGuestStopped);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed);
  EXPECT_FALSE(observer_.ended);
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(RollBackTest, AfterAnInterruption) {
  source_vm_->interrupt();
  for (const auto& status : {godwit::testing::hand_over(*source_vm_, observer_), source_vm_->pause()}) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kCancelled);
  }
  EXPECT_TRUE(source_vm_->roll_back());
  expect_source_runs();
  EXPECT_EQ(settings_of(*source_.qemu), before_);
}

TEST_P(RollBackTest, TellsWhenQemuDies) {
  observer_.hold_at(Point::kGuestStopped);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_held());
  source_.qemu->process().kill();
  observer_.let_go();
  ASSERT_TRUE(observer_.await_end());
  EXPECT_FALSE(observer_.ended);
  const auto rolled_back = source_vm_->roll_back();
  EXPECT_EQ(source_vm_->halted().value_or(Halt{}).kind, Halt::Kind::kEnded);
  if (way_ == DeviceWay::kDirect) return;  // there was nothing that QEMU would have had to be asked for
  ASSERT_FALSE(rolled_back);
  EXPECT_EQ(rolled_back.error().kind, ErrorKind::kPeerLost);
}

// An engine that dies: its sockets close, nobody rolls back. Then a new one comes.
TEST_P(StreamRollBackTest, ReviveAfterCompletion) {
  EXPECT_EQ(revive(), Revival::kRuns);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  for (int i = 0; i < 1000 && source_.record.mark().find("numbers") == std::string::npos; ++i) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  source_vm_.reset();
  EXPECT_THAT(source_.record.mark(), HasSubstr("numbers"));
  // QEMU says that it has completed a moment before its state follows.
  EXPECT_THAT(source_.qemu->status().value_or(""), AnyOf("postmigrate", "finish-migrate"));
  EXPECT_EQ(revive(), Revival::kLetRun);
  expect_source_runs();
  EXPECT_EQ(revive(), Revival::kRuns);
  // The numbers fit for ever, the state does not.
  ASSERT_TRUE(source_.qemu->stop());
  EXPECT_EQ(revive(), Revival::kNotOurs);
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
}

/// What was seen up to the end of RAM is enough for a guest that QEMU has not moved since, and for no other.
TEST_P(StreamRollBackTest, ReviveByWhatWasSeenOfTheStream) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await([](const auto& o) { return o.stopped.has_value(); }));
  const std::string first = source_.record.mark();
  ASSERT_TRUE(observer_.await_end());
  source_vm_.reset();
  ASSERT_THAT(first, HasSubstr("pages"));
  const auto numbers = source_.vm.qmp->execute("query-migrate").value_or(Json());
  const auto fits = check_mark(first, numbers);
  EXPECT_TRUE(fits) << fits.error().message << " " << first << numbers;
  Json other = Json::parse(first);
  other["zeros"] = other["zeros"].get<std::uint64_t>() + 5000;  // more than QEMU has sent since
  EXPECT_FALSE(check_mark(other.dump(), numbers)) << other;
  other = Json::parse(first);
  other["least_ms"] = other["most_ms"].get<std::uint64_t>() + 20000;
  other["most_ms"] = other["least_ms"];
  EXPECT_FALSE(check_mark(other.dump(), numbers)) << other;
  EXPECT_EQ(revive_by(first), Revival::kLetRun);
  expect_source_runs();
}

TEST_P(RollBackTest, ReviveAfterADeathInThePause) {
  observer_.hold_at(Point::kGuestStopped);
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_held());
  observer_.let_go();
  source_vm_.reset();
  // QEMU may have completed, or seen its stream break and gone on by itself; both end with a guest that runs.
  EXPECT_NE(revive(), Revival::kNotOurs);
  expect_source_runs();
}

TEST_P(RollBackTest, ReviveLeavesAnOperatorsPauseAlone) {
  ASSERT_TRUE(source_.qemu->stop());
  EXPECT_EQ(revive_by(""), Revival::kNotOurs);
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
}

TEST_P(RollBackTest, ReviveAfterAPauseForAHarvest) {
  ASSERT_TRUE(source_vm_->pause());
  const std::string mark = source_.record.mark();
  if (mark.empty()) GTEST_SKIP() << "this kernel does not tell how long a thread has run";
  EXPECT_EQ(revive_after_pause(*source_.vm.qmp, *source_.vm.process, "").value().what, Revival::kNotOurs);
  EXPECT_EQ(revive_after_pause(*source_.vm.qmp, *source_.vm.process, mark).value().what, Revival::kLetRun);
  expect_source_runs();
  // An operator's stop, later: the guest has run since.
  std::this_thread::sleep_for(seconds(1));
  ASSERT_TRUE(source_.qemu->stop());
  EXPECT_EQ(revive_after_pause(*source_.vm.qmp, *source_.vm.process, mark).value().what, Revival::kNotOurs);
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
}

/// Of a guest that was given away, and that somebody has let run here for a moment: what it has written since counts.
TEST_P(RollBackTest, KnowsOfTheShortestRunAfterTheGuestWasGivenAway) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_FALSE(observer_.failed) << observer_.failed->message;
  const std::string mark = source_.record.mark();
  ASSERT_FALSE(mark.empty());
  ASSERT_TRUE(at_rest(*source_.vm.qmp).value_or(false));
  const auto has_run = [&] { return has_run_since(*source_.vm.qmp, *source_.vm.process, mark); };
  EXPECT_FALSE(has_run().value_or(true));
  EXPECT_FALSE(has_run().value_or(true)) << "the look itself counts as a run";
  ASSERT_TRUE(source_.vm.qmp->execute("cont"));
  ASSERT_TRUE(source_.vm.qmp->execute("stop"));
  EXPECT_TRUE(has_run().value_or(false));
}

/// Whoever saves a guest as it is must find the settings as they were.
TEST_P(StreamRollBackTest, SettingsArePutBackWhereTheGuestStays) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_NE(settings_of(*source_.qemu), before_);
  EXPECT_FALSE(source_.record.settings().empty());
  Json record = Json::parse(source_.record.settings());
  EXPECT_EQ(record["capabilities"]["x-ignore-shared"], false) << record;
  EXPECT_TRUE(record["parameters"].contains("downtime-limit")) << record;
  ASSERT_TRUE(source_vm_->finish());
  EXPECT_EQ(settings_of(*source_.qemu), before_);
  EXPECT_TRUE(source_.record.settings().empty());
}

/// Between the last look at the guest and QEMU's own stop somebody else may pause it, which is then handed over so, or
/// let a paused one run, which is not: only the stream tells.
TEST_P(StreamRollBackTest, AGuestInAnotherStateThanExpectedIsHandedOverPausedOrNotAtAll) {
  source_vm_ = nullptr;  // it would look at the state itself
  auto settings = MigrationSettings::apply(*source_.vm.qmp, {"x-ignore-shared", "events"},
                                           Json{{"max-bandwidth", std::uint64_t{1} << 40}}, source_.record);
  ASSERT_TRUE(settings) << settings.error().message;
  for (const bool paused : {true, false}) {
    // On the second round it is paused; on the first it runs, and is expected to be paused.
    if (!paused) {
      ASSERT_TRUE(source_.qemu->stop());
    }
    StreamOptions options;
    for (const auto& block : source_.vm.inspection.blocks) options.dropped_blocks.insert(block.name);
    options.paused = paused;
    RecordingObserver observer;
    auto handover = StreamHandover::open(*source_.vm.qmp, options, observer, source_.record, clock_);
    ASSERT_TRUE(handover) << handover.error().message;
    const Status ordered = (*handover)->order({});
    ASSERT_TRUE(ordered) << ordered.error().message;
    ASSERT_TRUE(observer.await_end());
    EXPECT_EQ(observer.failed.has_value(), paused);
    if (observer.failed) {
      EXPECT_THAT(observer.failed->message, HasSubstr("somebody has let"));
    }
    EXPECT_TRUE((*handover)->hands_over_paused());
    (*handover)->end();
    EXPECT_EQ((*handover)->run_state().value_or("?"), paused ? "running" : "paused");
    handover->reset();
    ASSERT_TRUE(await_migration_end(*source_.vm.qmp, seconds(30)));
    if (paused) {
      ASSERT_TRUE(let_run(*source_.vm.qmp, seconds(30)));
    }
  }
  EXPECT_TRUE((*settings)->restore());
}

INSTANTIATE_TEST_SUITE_P(Qemu, RollBackTest, ::testing::ValuesIn(kStreamKinds), kind_name);
INSTANTIATE_TEST_SUITE_P(Directly, RollBackTest, ::testing::ValuesIn(kDirectKinds), kind_name);
INSTANTIATE_TEST_SUITE_P(Qemu, StreamRollBackTest, ::testing::ValuesIn(kStreamKinds), kind_name);

}  // namespace
}  // namespace godwit::qemu::roll_back_test
