// Hand-overs between real QEMUs, the test in the place of the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/vmm/real_qemu/handover_base.h"

namespace godwit::qemu::handover_test {
namespace {

using namespace testing;
using ::testing::HasSubstr;

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
