// QEMU's pass over private RAM begins while the lanes copy, and is held back before its end until the stop is ordered.
#include "tests/vmm/real_qemu/handover_base.h"
#include "vmm/qemu/handover.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/run_state.h"

namespace godwit::qemu::testing {
namespace {

class PreparedTest : public HandoverBase, public ::testing::WithParamInterface<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    // Almost all of it zeros, of which QEMU's records take 9 bytes each: the hardest to hold back.
    ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kPrivate, 2 * kShortestPass));
    before_ = settings_of(*source_.qemu);
    ASSERT_GT(source_vm_->preparation(), Duration{});
    ASSERT_TRUE(source_vm_->open_handover(observer_));
    const auto prepared = source_vm_->prepare_handover();
    ASSERT_TRUE(prepared) << prepared.error().message;
  }

  Json migration() { return source_.qemu->monitor().execute("query-migrate").value_or(Json()); }
  bool await_held_back() {
    for (int i = 0; i < 3000; ++i) {
      const auto now = source_.qemu->monitor().execute("query-migrate-parameters").value_or(Json());
      if (number_at(now, "max-bandwidth") == 10) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return false;
  }
  void expect_held_back() {
    EXPECT_EQ(source_.qemu->status().value_or(""), "running");
    EXPECT_TRUE(ticks(*source_.qemu));
    EXPECT_EQ(text_at(migration(), "status"), "active");
    EXPECT_GT(number_at(member(migration(), "ram"), "remaining"), 0U);
    EXPECT_FALSE(observer_.await([](const auto& o) { return o.stopped || o.stopping || o.failed; }, seconds(1)));
  }
  void expect_moved_when_ordered() {
    const Instant ordered = clock_.now();
    const auto order = source_vm_->order_handover(godwit::testing::kDowntime);
    ASSERT_TRUE(order) << order.error().message;
    ASSERT_TRUE(observer_.await_end());
    ASSERT_FALSE(observer_.failed) << observer_.failed->message;
    ASSERT_TRUE(observer_.await([](const auto& o) { return o.stopping.has_value(); }));
    EXPECT_GT(*observer_.stopping, ordered);
    // QEMU says that it has completed a moment before its state follows.
    EXPECT_THAT(source_.qemu->status().value_or(""), ::testing::AnyOf("postmigrate", "finish-migrate"));
  }
  void expect_rolled_back() {
    const auto rolled_back = source_vm_->roll_back();
    ASSERT_TRUE(rolled_back) << rolled_back.error().message;
    expect_source_runs();
    EXPECT_EQ(settings_of(*source_.qemu), before_);
  }

  Json before_;
};

TEST_P(PreparedTest, AGuestIsMovedWhenItsStopIsOrdered) {
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kPrivate));
  ASSERT_TRUE(await_held_back());
  expect_held_back();
  ASSERT_NO_FATAL_FAILURE(expect_moved_when_ordered());
  ASSERT_NO_FATAL_FAILURE(load());
  EXPECT_EQ(pages_that_differ(), 0U);
  ASSERT_TRUE(sink_vm_->resume());
  EXPECT_TRUE(ticks(*sink_.qemu));
  EXPECT_TRUE(source_vm_->finish());
  EXPECT_EQ(settings_of(*source_.qemu), before_);
}

TEST_P(PreparedTest, TheStopMayBeOrderedBeforeThePassHasComeFar) {
  ASSERT_NO_FATAL_FAILURE(expect_moved_when_ordered());
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

/// Whoever lifts QEMU's limit does not bring it to the end: nobody reads that.
TEST_P(PreparedTest, QemuDoesNotComeToTheEndWithoutItsLimitEither) {
  ASSERT_TRUE(await_held_back());
  ASSERT_TRUE(source_.qemu->monitor().execute("migrate-set-parameters",
                                              Json{{"max-bandwidth", kUnlimited}, {"downtime-limit", 2000}}));
  std::this_thread::sleep_for(seconds(2));
  expect_held_back();
  ASSERT_NO_FATAL_FAILURE(expect_moved_when_ordered());
}

TEST_P(PreparedTest, IsRolledBackWhileThePassGoesOn) {
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
  EXPECT_TRUE(source_vm_->roll_back());
}

TEST_P(PreparedTest, IsRolledBackWhileItIsHeldBack) {
  ASSERT_TRUE(await_held_back());
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
  // And may be moved after all.
  RecordingObserver second;
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, second));
  ASSERT_TRUE(second.await_end());
  EXPECT_FALSE(second.failed) << second.failed->message;
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(PreparedTest, AStopByTheOperatorIsTheOperators) {
  ASSERT_TRUE(await_held_back());
  ASSERT_TRUE(source_.qemu->stop());
  EXPECT_FALSE(observer_.await([](const auto& o) { return o.stopping.has_value(); }, seconds(1)));
  EXPECT_EQ(source_vm_->halted().value_or(Halt{}).kind, Halt::Kind::kPaused);
  EXPECT_FALSE(source_vm_->order_handover(godwit::testing::kDowntime));
  ASSERT_TRUE(source_vm_->roll_back());
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
  EXPECT_EQ(settings_of(*source_.qemu), before_);
}

/// As harvests of a guest with direct disks do.
TEST_P(PreparedTest, APauseMeanwhileIsNotTakenForTheStop) {
  ASSERT_TRUE(await_held_back());
  ASSERT_TRUE(source_vm_->pause());
  ASSERT_TRUE(source_vm_->resume());
  expect_held_back();
  ASSERT_NO_FATAL_FAILURE(expect_moved_when_ordered());
  EXPECT_TRUE(source_vm_->still_paused());
}

/// The operator gives up while the guest is paused for a harvest.
TEST_P(PreparedTest, AGuestThatIsPausedForAHarvestIsLetRunByARollBack) {
  ASSERT_TRUE(source_vm_->pause());
  source_vm_->interrupt();
  EXPECT_FALSE(source_vm_->resume());
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
  EXPECT_FALSE(source_vm_->halted());
}

TEST_P(PreparedTest, ACancelledMigrationEndsTheMove) {
  ASSERT_TRUE(await_held_back());
  ASSERT_TRUE(source_.qemu->monitor().execute("migrate_cancel"));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed);
  EXPECT_THAT(observer_.failed->message, ::testing::HasSubstr("'cancelled'"));
  ASSERT_NO_FATAL_FAILURE(expect_rolled_back());
}

TEST_P(PreparedTest, TellsWhenQemuDies) {
  ASSERT_TRUE(await_held_back());
  source_.qemu->process().kill();
  ASSERT_TRUE(observer_.await_end());
  EXPECT_EQ(observer_.failed.value_or(Error{}).kind, ErrorKind::kPeerLost);
  (void)source_vm_->roll_back();
  EXPECT_EQ(source_vm_->halted().value_or(Halt{}).kind, Halt::Kind::kEnded);
}

/// Its sockets close, nobody rolls back: the guest runs on, and what was set is on record.
TEST_P(PreparedTest, AnEngineThatDiesLeavesAGuestThatRuns) {
  ASSERT_TRUE(await_held_back());
  const std::string recorded = source_.record.settings();
  source_vm_.reset();
  expect_source_runs();
  EXPECT_TRUE(restore_settings(*source_.vm.qmp, recorded));
  EXPECT_EQ(settings_of(*source_.qemu), before_);
}

INSTANTIATE_TEST_SUITE_P(Qemu, PreparedTest, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7" : "v10"; });

class NothingToPrepare : public HandoverBase {};

TEST_F(NothingToPrepare, WithLittleRamOrDirectly) {
  const auto program = godwit::testing::find_qemu(QemuVersion::k7_2);
  if (!program) GTEST_SKIP() << program.error().message;
  ASSERT_NO_FATAL_FAILURE(start_source(QemuVersion::k7_2, Ram::kPrivate));
  EXPECT_EQ(source_vm_->preparation(), Duration{});
}

}  // namespace
}  // namespace godwit::qemu::testing
