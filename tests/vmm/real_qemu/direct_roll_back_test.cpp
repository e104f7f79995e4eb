// Devices saved directly, and taken back: what QEMU is left with, and what is noticed on the way.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/vmm/real_qemu/roll_back_base.h"
#include "vmm/qemu/direct_handover.h"
#include "vmm/qemu/migration_end.h"
#include "vmm/qemu/saved_devices.h"

namespace godwit::qemu::direct_roll_back_test {
namespace {

using namespace testing;
using ::testing::HasSubstr;

class DirectRollBackTest : public RollBackTest {
 protected:
  std::size_t files_lent() { return source_.qemu->monitor().execute("query-fdsets").value_or(Json()).size(); }
  /// Of all that it still has open of them.
  std::uint64_t bytes_lent() {
    std::uint64_t bytes = 0;
    for (const auto& open : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", source_.qemu->pid()))) {
      std::error_code gone;
      if (std::filesystem::read_symlink(open, gone).string().find("godwit-devices") == std::string::npos) continue;
      bytes += std::filesystem::file_size(open, gone);
    }
    return bytes;
  }
  /// QEMU 7.2 closes what it was lent once its guest runs again, or never.
  static bool closes_at_once() { return GetParam().version != QemuVersion::k7_2; }
};

/// Nothing is set in QEMU that an engine which dies would leave there, and no migration is begun.
TEST_P(DirectRollBackTest, TouchesNoSetting) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_FALSE(observer_.failed) << observer_.failed->message;
  EXPECT_EQ(settings_of(*source_.qemu), before_);
  EXPECT_TRUE(source_.record.settings().empty());
  EXPECT_FALSE(source_.qemu->monitor().execute("query-migrate").value_or(Json()).contains("status"));
  EXPECT_EQ(files_lent(), 1u) << "lent while it is needed";
  EXPECT_GT(bytes_lent(), 0u);
  ASSERT_TRUE(source_vm_->finish());
  EXPECT_EQ(files_lent(), closes_at_once() ? 0u : 1u);
  EXPECT_EQ(bytes_lent(), 0u);
}

/// It runs at the destination by then: whoever paused it before, it is paused once more.
TEST_P(DirectRollBackTest, IsPausedAgainThoughSomebodyHadPausedIt) {
  ASSERT_TRUE(source_vm_->check_unchanged());
  EXPECT_FALSE(source_vm_->halted());
  ASSERT_TRUE(source_.qemu->stop());
  ASSERT_TRUE(godwit::testing::wait_until([&] { return source_vm_->halted().has_value(); }, std::chrono::seconds(20)));
  ASSERT_TRUE(source_vm_->move_as_paused());
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_FALSE(observer_.failed) << observer_.failed->message;
  ASSERT_TRUE(source_.qemu->go_on());
  ASSERT_TRUE(godwit::testing::wait_until([&] { return !source_vm_->still_paused(); }, std::chrono::seconds(20)));
  ASSERT_TRUE(source_vm_->pause());
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
}

TEST_P(DirectRollBackTest, LeavesNoFileInQemu) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  EXPECT_EQ(files_lent(), 1u);
  ASSERT_TRUE(source_vm_->roll_back());
  EXPECT_EQ(files_lent(), 0u);
}

/// An engine that dies once the devices have been saved: the next one knows its stop by the time that vCPUs have run.
TEST_P(DirectRollBackTest, ReviveAfterCompletion) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  source_vm_.reset();
  EXPECT_EQ(source_.qemu->status().value_or(""), "paused");
  EXPECT_THAT(source_.record.mark(), HasSubstr("virtual_clock_ns"));
  EXPECT_EQ(revive_after_handover(*source_.vm.qmp, source_.record.mark()).value().what, Revival::kNotOurs);
  // The file was taken back above; an engine that is killed leaves it.
  ASSERT_TRUE(DeviceFile::lend(*source_.vm.qmp));
  EXPECT_GE(files_lent(), 1u);
  EXPECT_EQ(revive(), Revival::kLetRun);
  take_back_left_files(*source_.vm.qmp);
  EXPECT_EQ(files_lent(), 0u);
  // A moment is enough, too short for the time of its vCPUs to tell.
  ASSERT_TRUE(source_.qemu->stop());
  EXPECT_EQ(revive(), Revival::kNotOurs) << "it has run since, and was stopped by hand";
}

/// Moved elsewhere by QEMU's own migration while the engine was dead: it may run there.
TEST_P(DirectRollBackTest, ReviveLeavesAGuestAloneThatWasMovedMeanwhile) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  source_vm_.reset();
  ASSERT_TRUE(source_.vm.qmp->execute("migrate", Json{{"uri", "exec:cat > /dev/null"}}));
  ASSERT_TRUE(at_rest(*source_.vm.qmp).value_or(false));
  EXPECT_EQ(revive(), Revival::kNotOurs);
  EXPECT_EQ(source_.qemu->status().value_or(""), "postmigrate");
}

/// Between the last look at the guest and the engine's own stop somebody else may have paused it: it is handed over so.
TEST_P(DirectRollBackTest, AGuestThatSomebodyElseHasPausedIsHandedOverPaused) {
  source_vm_ = nullptr;  // it would look at the state itself
  ASSERT_TRUE(source_.qemu->stop());
  DirectHandover handover(*source_.vm.qmp, *source_.vm.process, {.machine = source_.vm.inspection.fingerprint.machine},
                          observer_, source_.record, clock_);
  ASSERT_TRUE(handover.order({}));
  ASSERT_TRUE(observer_.await_end());
  EXPECT_FALSE(observer_.failed);
  EXPECT_TRUE(handover.hands_over_paused());
  handover.end();
  EXPECT_FALSE(handover.run_state()) << "this engine has not stopped it";
  EXPECT_TRUE(source_.record.mark().empty());
}

/// QEMU saves a guest that runs as readily.
TEST_P(DirectRollBackTest, APausedGuestThatSomebodyHasLetRunIsNotHandedOver) {
  source_vm_ = nullptr;
  DirectHandover handover(*source_.vm.qmp, *source_.vm.process,
                          {.machine = source_.vm.inspection.fingerprint.machine, .paused = true}, observer_,
                          source_.record, clock_);
  ASSERT_TRUE(handover.order({}));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed);
  EXPECT_THAT(observer_.failed->message, HasSubstr("somebody has let"));
  handover.end();
  expect_source_runs();
}

/// Since the lanes were told how long it is, not since the last look.
TEST_P(DirectRollBackTest, ABlockThatGrewWhileMemoryWasCopiedIsNamed) {
  auto& block = source_.vm.inspection.other.blocks.at(0);
  block.size -= kPageSize;
  EXPECT_FALSE(source_vm_->check_unchanged()) << "as it should be noticed";
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed) << "it would arrive without its end";
  EXPECT_THAT(observer_.failed->message, HasSubstr("'" + block.name + "' has been resized"));
  ASSERT_TRUE(source_vm_->roll_back());
  expect_source_runs();
}

/// QEMU makes a block of firmware tables longer when the guest reads them.
TEST_P(DirectRollBackTest, ABlockThatWasResizedIsNamed) {
  source_vm_ = nullptr;
  auto lengths = source_.vm.inspection.configuration.ram_blocks;
  ASSERT_TRUE(lengths.contains("pc.ram") || lengths.contains("ram0") || !lengths.empty());
  const std::string name = lengths.begin()->first;
  lengths.begin()->second += kPageSize;
  DirectHandover handover(*source_.vm.qmp, *source_.vm.process, {.machine = source_.vm.inspection.fingerprint.machine},
                          observer_, source_.record, clock_);
  ASSERT_TRUE(handover.order({.lengths = lengths}));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed);
  EXPECT_EQ(observer_.failed->kind, ErrorKind::kRefused);
  EXPECT_THAT(observer_.failed->message, HasSubstr("'" + name + "' has been resized"));
  handover.end();
  EXPECT_EQ(handover.run_state().value_or(""), "running");
}

/// A monitor that says once, at the `at`th time, that its guest is in another state than it is.
class OnceInAnotherState final : public Qmp {
 public:
  OnceInAnotherState(Qmp& qmp, int at, std::string state) : qmp_(qmp), at_(at), state_(std::move(state)) {}
  Result<Json> execute(std::string_view command, const Json& arguments) override {
    saved = saved || command == "xen-save-devices-state";
    if (command == "query-status" && ++asked_ == at_) return Json{{"status", state_}, {"running", false}};
    return qmp_.execute(command, arguments);
  }
  Result<Json> execute_with_descriptor(std::string_view command, const Json& arguments, int fd) override {
    return qmp_.execute_with_descriptor(command, arguments, fd);
  }
  void on_event(OnEvent handler) override { qmp_.on_event(std::move(handler)); }
  void on_lost(std::function<void()> handler) override { qmp_.on_lost(std::move(handler)); }
  pid_t peer_pid() const noexcept override { return qmp_.peer_pid(); }

  std::atomic<bool> saved{false};

 private:
  Qmp& qmp_;
  const int at_;
  const std::string state_;
  std::atomic<int> asked_{0};
};

/// Before anything is saved: with its disks given up, one that is suspended could not take them back.
TEST_P(DirectRollBackTest, AGuestThatEndsOrIsSuspendedJustBeforeTheStopIsNotSaved) {
  for (const std::string state : {"suspended", "shutdown"}) {
    SCOPED_TRACE(state);
    OnceInAnotherState qmp(*source_.vm.qmp, 2, state);
    RecordingObserver observer;
    DirectHandover handover(qmp, *source_.vm.process, {.machine = source_.vm.inspection.fingerprint.machine}, observer,
                            source_.record, clock_);
    ASSERT_TRUE(handover.order({}));
    ASSERT_TRUE(observer.await_end());
    ASSERT_TRUE(observer.failed);
    EXPECT_EQ(observer.failed->kind, ErrorKind::kRefused);
    EXPECT_FALSE(qmp.saved);
    handover.end();
    EXPECT_EQ(handover.run_state().value_or(""), state);
    ASSERT_TRUE(let_run(*source_.vm.qmp, seconds(30)));
  }
}

TEST_P(DirectRollBackTest, ABlockThatLiesElsewhereThanBeforeIsNamedBeforeTheStop) {
  ASSERT_TRUE(source_vm_->check_unchanged());
  auto& block = source_.vm.inspection.other.blocks.at(0);
  block.address += kPageSize;
  const Status unchanged = source_vm_->check_unchanged();
  ASSERT_FALSE(unchanged);
  EXPECT_EQ(unchanged.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(unchanged.error().message, HasSubstr("'" + block.name + "' has been mapped again"));
}

/// A reset rewrites memory that lanes have sent already.
TEST_P(DirectRollBackTest, AGuestWhoseStateHasChangedSinceIsNotHandedOver) {
  OnceInAnotherState qmp(*source_.vm.qmp, 3, "prelaunch");
  DirectHandover handover(qmp, *source_.vm.process, {.machine = source_.vm.inspection.fingerprint.machine}, observer_,
                          source_.record, clock_);
  ASSERT_TRUE(handover.order({}));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed);
  EXPECT_TRUE(qmp.saved);
  EXPECT_FALSE(handover.complete());
  EXPECT_THAT(observer_.failed->message, HasSubstr("it was 'paused', it is 'prelaunch'"));
  handover.end();
}

INSTANTIATE_TEST_SUITE_P(Qemu, DirectRollBackTest, ::testing::ValuesIn(kDirectKinds), kind_name);

}  // namespace
}  // namespace godwit::qemu::direct_roll_back_test
