// Hand-overs between real QEMUs, the test in the place of the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "tests/vmm/real_qemu/handover_base.h"
#include "vmm/qemu/direct_handover.h"
#include "vmm/qemu/handover.h"
#include "vmm/qemu/handover_mark.h"
#include "vmm/qemu/migration_end.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/revive.h"
#include "vmm/qemu/saved_devices.h"

namespace godwit::qemu::handover_test {
namespace {

using namespace testing;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using Point = RecordingObserver::Point;

struct Pairing {
  const char* name;
  QemuVersion source;
  QemuVersion sink;
  Ram source_ram;
  Ram sink_ram;
  DeviceWay way = DeviceWay::kStream;
};

class HandoverTest : public HandoverBase, public ::testing::WithParamInterface<Pairing> {
 protected:
  void SetUp() override {
    way_ = GetParam().way;
    for (const auto version : {GetParam().source, GetParam().sink}) {
      const auto program = godwit::testing::find_qemu(version);
      if (!program) GTEST_SKIP() << program.error().message;
    }
  }
};

/// A `cont` while the sink waits sets its guest to start by itself at the end of the load.
TEST_P(HandoverTest, ASinkThatStartedByItselfIsNotPrepared) {
  ASSERT_NO_FATAL_FAILURE(start_source(GetParam().source, GetParam().source_ram));
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam().sink, GetParam().sink_ram));
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_NO_FATAL_FAILURE(copy_ram());
  ASSERT_TRUE(sink_vm_->open_incoming());
  ASSERT_TRUE(sink_.vm.qmp->execute("cont"));
  ASSERT_TRUE(sink_vm_->load(observer_.take_bytes()));
  ASSERT_TRUE(sink_vm_->finish_load());
  EXPECT_FALSE(sink_vm_->await_loaded(seconds(30)));
  EXPECT_NE(sink_.qemu->status().value_or(""), "running");
}

TEST_P(HandoverTest, MovesAGuest) {
  ASSERT_NO_FATAL_FAILURE(start_source(GetParam().source, GetParam().source_ram));
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam().sink, GetParam().sink_ram));
  const Json source_settings = settings_of(*source_.qemu);
  const Json sink_settings = settings_of(*sink_.qemu);

  ASSERT_NO_FATAL_FAILURE(hand_over());
  // The event may arrive after the end of RAM does, yet its instant is earlier.
  ASSERT_TRUE(observer_.await([](const auto& o) { return o.stopping.has_value(); }));
  ASSERT_TRUE(observer_.stopped);
  EXPECT_LE(*observer_.stopping, *observer_.stopped);
  EXPECT_LE(*observer_.stopped, *observer_.ended);
  // What comes through is devices and, in a stream, ROMs, not the guest's 32 MiB.
  EXPECT_LT(observer_.take_bytes().size(), way_ == DeviceWay::kDirect ? 256 * kKiB : 4 * kMiB);
  EXPECT_GT(observer_.take_bytes().size(), observer_.before_stop);

  // Loaded and paused on both sides: nobody runs before resume().
  EXPECT_EQ(source_.qemu->status().value_or(""), handed_over());
  EXPECT_EQ(sink_.qemu->status().value_or(""), "paused");
  EXPECT_FALSE(sink_.qemu->monitor().has_seen("RESUME").value_or(true));
  EXPECT_FALSE(ticks(*sink_.qemu, milliseconds(150)));
  EXPECT_EQ(pages_that_differ(), 0u);
  const auto tick_before = tick(*source_.qemu);

  ASSERT_TRUE(sink_vm_->resume());
  EXPECT_EQ(sink_.qemu->status().value_or(""), "running");
  EXPECT_TRUE(ticks(*sink_.qemu));
  EXPECT_GT(tick(*sink_.qemu), tick_before);
  EXPECT_TRUE(sink_vm_->announce());
  EXPECT_TRUE(source_vm_->finish());
  EXPECT_EQ(source_.qemu->status().value_or(""), handed_over());
  EXPECT_FALSE(ticks(*source_.qemu, milliseconds(150)));
  EXPECT_EQ(settings_of(*source_.qemu), source_settings);
  EXPECT_EQ(settings_of(*sink_.qemu), sink_settings);
}

INSTANTIATE_TEST_SUITE_P(
    Qemu, HandoverTest,
    ::testing::Values(Pairing{"private_7", QemuVersion::k7_2, QemuVersion::k7_2, Ram::kPrivate, Ram::kPrivate},
                      Pairing{"memfd_7", QemuVersion::k7_2, QemuVersion::k7_2, Ram::kMemfd, Ram::kMemfd},
                      Pairing{"file_7", QemuVersion::k7_2, QemuVersion::k7_2, Ram::kFile, Ram::kFile},
                      Pairing{"private_to_file_7", QemuVersion::k7_2, QemuVersion::k7_2, Ram::kPrivate, Ram::kFile},
                      Pairing{"file_to_private_7", QemuVersion::k7_2, QemuVersion::k7_2, Ram::kFile, Ram::kPrivate},
                      Pairing{"private_10", QemuVersion::k10_0, QemuVersion::k10_0, Ram::kPrivate, Ram::kPrivate},
                      Pairing{"memfd_10", QemuVersion::k10_0, QemuVersion::k10_0, Ram::kMemfd, Ram::kMemfd},
                      Pairing{"file_10", QemuVersion::k10_0, QemuVersion::k10_0, Ram::kFile, Ram::kFile},
                      Pairing{"direct_private_10", QemuVersion::k10_0, QemuVersion::k10_0, Ram::kPrivate, Ram::kPrivate,
                              DeviceWay::kDirect},
                      Pairing{"direct_memfd_10", QemuVersion::k10_0, QemuVersion::k10_0, Ram::kMemfd, Ram::kMemfd,
                              DeviceWay::kDirect},
                      Pairing{"direct_file_to_private_10", QemuVersion::k10_0, QemuVersion::k10_0, Ram::kFile,
                              Ram::kPrivate, DeviceWay::kDirect},
                      Pairing{"memfd_7_to_file_10", QemuVersion::k7_2, QemuVersion::k10_0, Ram::kMemfd, Ram::kFile},
                      Pairing{"private_7_to_10", QemuVersion::k7_2, QemuVersion::k10_0, Ram::kPrivate, Ram::kPrivate},
                      Pairing{"file_10_to_7", QemuVersion::k10_0, QemuVersion::k7_2, Ram::kFile, Ram::kFile}),
    [](const auto& each) { return each.param.name; });

/// On one QEMU; RAM that QEMU leaves out and RAM that it sends.
struct Kind {
  const char* name;
  QemuVersion version;
  Ram ram;
  DeviceWay way = DeviceWay::kStream;
};

class RollBackTest : public HandoverBase, public ::testing::WithParamInterface<Kind> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam().version);
    if (!program) GTEST_SKIP() << program.error().message;
    way_ = GetParam().way;
    ASSERT_NO_FATAL_FAILURE(start_source(GetParam().version, GetParam().ram));
    before_ = settings_of(*source_.qemu);
  }

  /// Rolls back, twice, and expects the guest to run as if nothing had been; then moves it after all.
  void expect_rolled_back() {
    observer_.let_go();
    const auto rolled_back = source_vm_->roll_back();
    ASSERT_TRUE(rolled_back) << rolled_back.error().message;
    expect_source_runs();
    EXPECT_TRUE(source_vm_->roll_back());
    expect_source_runs();
    EXPECT_EQ(settings_of(*source_.qemu), before_);
    const unsigned calls = observer_.calls;

    RecordingObserver second;
    ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, second));
    ASSERT_TRUE(second.await_end());
    EXPECT_FALSE(second.failed) << second.failed->message;
    EXPECT_TRUE(source_vm_->roll_back());
    expect_source_runs();
    EXPECT_EQ(observer_.calls, calls) << "the first observer was called after its hand-over was rolled back";
  }
  Revival revive() { return revive_by(source_.record.mark()); }
  Revival revive_by(const std::string& mark) {
    const auto revived = is_mark_of_pause(mark) ? revive_after_pause(*source_.vm.qmp, *source_.vm.process, mark)
                                                : revive_after_handover(*source_.vm.qmp, mark);
    EXPECT_TRUE(revived) << revived.error().message;
    return revived ? revived->what : Revival::kUnderWay;
  }
  Json before_;
};

class StreamRollBackTest : public RollBackTest {};
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

/// Between the last look at the guest and QEMU's own stop somebody else may pause it, or let a paused one run: only the
/// stream tells.
TEST_P(StreamRollBackTest, AGuestInAnotherStateThanExpectedIsNotHandedOver) {
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
    EXPECT_FALSE(observer.ended);
    ASSERT_TRUE(observer.failed);
    EXPECT_THAT(observer.failed->message, HasSubstr(paused ? "somebody has let" : "somebody has paused"));
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

/// Between the last look at the guest and the engine's own stop somebody else may have paused it.
TEST_P(DirectRollBackTest, AGuestInAnotherStateThanExpectedIsNotHandedOver) {
  source_vm_ = nullptr;  // it would look at the state itself
  ASSERT_TRUE(source_.qemu->stop());
  DirectHandover handover(*source_.vm.qmp, *source_.vm.process, {.machine = source_.vm.inspection.fingerprint.machine},
                          observer_, source_.record, clock_);
  ASSERT_TRUE(handover.order({}));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_TRUE(observer_.failed);
  EXPECT_THAT(observer_.failed->message, HasSubstr("somebody has paused"));
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
  for (const std::string state : {"suspended", "shutdown", "io-error"}) {
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

constexpr std::array kStreamKinds = {
    Kind{"file_7", QemuVersion::k7_2, Ram::kFile}, Kind{"private_7", QemuVersion::k7_2, Ram::kPrivate},
    Kind{"file_10", QemuVersion::k10_0, Ram::kFile}, Kind{"private_10", QemuVersion::k10_0, Ram::kPrivate}};
constexpr std::array kDirectKinds = {Kind{"direct_private_7", QemuVersion::k7_2, Ram::kPrivate, DeviceWay::kDirect},
                                     Kind{"direct_file_10", QemuVersion::k10_0, Ram::kFile, DeviceWay::kDirect},
                                     Kind{"direct_private_10", QemuVersion::k10_0, Ram::kPrivate, DeviceWay::kDirect}};

std::string kind_name(const ::testing::TestParamInfo<Kind>& each) {
  return each.param.name;
}

INSTANTIATE_TEST_SUITE_P(Qemu, RollBackTest, ::testing::ValuesIn(kStreamKinds), kind_name);
INSTANTIATE_TEST_SUITE_P(Directly, RollBackTest, ::testing::ValuesIn(kDirectKinds), kind_name);
INSTANTIATE_TEST_SUITE_P(Qemu, StreamRollBackTest, ::testing::ValuesIn(kStreamKinds), kind_name);
INSTANTIATE_TEST_SUITE_P(Qemu, DirectRollBackTest, ::testing::ValuesIn(kDirectKinds), kind_name);

/// What the destination's QEMU is given may be broken, or of another machine: it says so, and never runs.
class DirectSinkTest : public HandoverBase, public ::testing::WithParamInterface<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    way_ = DeviceWay::kDirect;
    ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kPrivate));
    ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kPrivate));
    ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
    ASSERT_TRUE(observer_.await_end());
    ASSERT_FALSE(observer_.failed) << observer_.failed->message;
    devices_ = observer_.take_bytes();
    ASSERT_NO_FATAL_FAILURE(copy_ram());
    ASSERT_TRUE(sink_vm_->open_incoming());
  }
  /// Gives these bytes to the sink, and expects that it does not take them and the source can go on.
  void expect_refused(Bytes bytes, const std::string& words) {
    Status status = sink_vm_->load(bytes);
    if (status) status = sink_vm_->finish_load();
    if (status) status = sink_vm_->await_loaded(seconds(30));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kHypervisor);
    EXPECT_THAT(status.error().message, HasSubstr(words));
    ASSERT_TRUE(source_vm_->roll_back());
    expect_source_runs();
  }
  std::vector<std::byte> devices_;
};

TEST_P(DirectSinkTest, DevicesThatAreCut) {
  ASSERT_NO_FATAL_FAILURE(expect_refused(Bytes(devices_).first(devices_.size() / 2), ""));
}

TEST_P(DirectSinkTest, DevicesOfAnotherMachine) {
  const auto other = stream_beginning("pc-i440fx-6.2");
  std::vector<std::byte> bytes(other);
  const auto own = stream_beginning(source_.vm.inspection.fingerprint.machine);
  bytes.insert(bytes.end(), devices_.begin() + static_cast<std::ptrdiff_t>(own.size()), devices_.end());
  ASSERT_NO_FATAL_FAILURE(expect_refused(bytes, "pc-i440fx-6.2"));
}

/// A newer QEMU saves sections in versions that an older one does not know.
TEST_P(DirectSinkTest, DevicesOfANewerQemu) {
  // Type, section, length of the name, name, instance, version: of the first device.
  const auto own = stream_beginning(source_.vm.inspection.fingerprint.machine);
  const std::size_t name_length = static_cast<std::size_t>(devices_.at(own.size() + 5));
  const std::size_t version = own.size() + 6 + name_length + 4;
  devices_.at(version) = std::byte{0x7f};
  ASSERT_NO_FATAL_FAILURE(expect_refused(devices_, ""));
}

INSTANTIATE_TEST_SUITE_P(Qemu, DirectSinkTest, ::testing::Values(QemuVersion::k10_0),
                         [](const auto&) { return "qemu_10"; });

class SinkTest : public HandoverBase, public ::testing::WithParamInterface<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    options_.size = 32 * kMiB;
  }
};

TEST_P(SinkTest, NeedsAVmThatWaits) {
  ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kFile));
  auto sink = make_sink_vm(source_.vm, {}, source_.record, clock_);
  const auto opened = sink->open_incoming();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::kRefused);
  EXPECT_EQ(source_.qemu->status().value_or(""), "running");
}

// Without -S a QEMU starts its guest by itself when it has loaded it: that must not happen.
TEST_P(SinkTest, AGuestNeverStartsByItself) {
  ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kFile));
  QemuOptions options = options_;
  options.more = {"-incoming", "defer"};  // and no -S
  ASSERT_NO_FATAL_FAILURE(start(sink_, options));
  sink_vm_ = make_sink_vm(sink_.vm, {}, sink_.record, clock_);
  ASSERT_NO_FATAL_FAILURE(hand_over());
  EXPECT_EQ(sink_.qemu->status().value_or(""), "paused");
  EXPECT_FALSE(ticks(*sink_.qemu, milliseconds(150)));
  EXPECT_FALSE(sink_.qemu->monitor().has_seen("RESUME").value_or(true));
  ASSERT_TRUE(sink_vm_->resume());
  EXPECT_TRUE(ticks(*sink_.qemu));
}

TEST_P(SinkTest, SaysWhenTheStreamIsBroken) {
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kFile));
  ASSERT_TRUE(sink_vm_->open_incoming());
  const std::string garbage(4096, 'x');
  auto status = sink_vm_->load(bytes_of(garbage));
  if (status) status = sink_vm_->finish_load();
  if (status) status = sink_vm_->await_loaded(seconds(20));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kHypervisor);
  // QEMU's own words, which 7.2 has only on its stderr.
  EXPECT_THAT(status.error().message, HasSubstr("Not a migration stream"));
  sink_vm_->give_up();
  EXPECT_NE(sink_.qemu->status().value_or("gone"), "running");
}

TEST_P(SinkTest, AwaitTimesOutAndCanBeInterrupted) {
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kFile));
  ASSERT_TRUE(sink_vm_->open_incoming());
  ASSERT_TRUE(sink_vm_->load(bytes_of("QEVM")));
  const auto late = sink_vm_->await_loaded(milliseconds(50));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kTimedOut);
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(50));
    sink_vm_->interrupt();
  });
  const auto cut = sink_vm_->await_loaded(seconds(30));
  other.join();
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().kind, ErrorKind::kCancelled);
  sink_vm_->give_up();
}

/// It was handed over in a state in which no QEMU lets it run: that is found before anybody commits to it.
TEST_P(SinkTest, AGuestThatHasShutDownIsNotPrepared) {
  options_.more = {"-no-shutdown"};
  ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kFile));
  auto& monitor = source_.qemu->monitor();
  ASSERT_TRUE(monitor.human("o /2 0x604 0x2000"));
  ASSERT_TRUE(
      godwit::testing::wait_until([&] { return source_.qemu->status().value_or("") == "shutdown"; }, seconds(30)));
  const Json on = {{"capability", "x-ignore-shared"}, {"state", true}};
  ASSERT_TRUE(monitor.execute("migrate-set-capabilities", Json{{"capabilities", Json::array({on})}}));
  const auto stream = source_.qemu->folder() / "stream";
  ASSERT_TRUE(monitor.execute("migrate", Json{{"uri", "exec:cat >" + stream.string()}}));
  ASSERT_TRUE(godwit::testing::wait_until(
      [&] { return monitor.execute("query-migrate").value_or(Json::object()).value("status", "") == "completed"; },
      seconds(30)));

  options_.more.clear();
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kFile));
  ASSERT_NO_FATAL_FAILURE(copy_ram());  // some devices look into RAM while they are loaded
  ASSERT_TRUE(sink_vm_->open_incoming());
  auto loaded = sink_vm_->load(bytes_of(godwit::testing::read_text(stream)));
  if (loaded) loaded = sink_vm_->finish_load();
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto ready = sink_vm_->await_loaded(seconds(30));
  ASSERT_FALSE(ready);
  EXPECT_THAT(ready.error().message, HasSubstr("the guest has shut down"));
}

TEST_P(SinkTest, GivingUpALoadedGuestLeavesItStanding) {
  ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kFile));
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kFile));
  const Json before = settings_of(*sink_.qemu);
  ASSERT_NO_FATAL_FAILURE(hand_over());
  sink_vm_->give_up();
  EXPECT_EQ(sink_.qemu->status().value_or(""), "paused");
  EXPECT_EQ(settings_of(*sink_.qemu), before);
  EXPECT_TRUE(source_vm_->roll_back());
  expect_source_runs();
}

TEST_P(SinkTest, GivingUpBeforeAnythingLeavesItWaiting) {
  ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kFile));
  ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kFile));
  const Json before = settings_of(*sink_.qemu);
  ASSERT_TRUE(sink_vm_->open_incoming());
  sink_vm_->give_up();
  EXPECT_EQ(sink_.qemu->status().value_or(""), "inmigrate");
  EXPECT_EQ(settings_of(*sink_.qemu), before);
  // And takes the next one.
  sink_vm_ = nullptr;
  sink_vm_ = make_sink_vm(sink_.vm, {}, sink_.record, clock_);
  ASSERT_NO_FATAL_FAILURE(hand_over());
  ASSERT_TRUE(sink_vm_->resume());
  EXPECT_TRUE(ticks(*sink_.qemu));
}

INSTANTIATE_TEST_SUITE_P(Qemu, SinkTest, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::qemu::handover_test
