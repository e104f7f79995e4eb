// The loader: what it gives to the hypervisor and when, and when it says that all is prepared.
#include "engine/device_loader.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "codec/codec.h"
#include "tests/support/fake_vm.h"
#include "tests/support/manual_clock.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

std::vector<std::byte> bytes(std::string_view text) {
  const Bytes view = bytes_of(text);
  return {view.begin(), view.end()};
}

class DeviceLoaderTest : public ::testing::Test {
 protected:
  DeviceLoaderTest() {
    vm_.on_load = [this](std::string_view step) {
      std::unique_lock lock(mutex_);
      steps_ += std::string(step) + " ";
      changed_.notify_all();
      if (step == "await_loaded") clock_.advance(load_takes_);
      return step == failing_ ? Status(fail(ErrorKind::kHypervisor, "the fake hypervisor's " + failing_)) : Status{};
    };
  }
  void start() {
    loader_.emplace(
        vm_, clock_, [this] { end("prepared"); }, [this](Error error) { end("failed: " + error.message); });
  }
  void end(const std::string& how) {
    const std::lock_guard lock(mutex_);
    ends_.push_back(how);
    changed_.notify_all();
  }
  /// Until the hypervisor has been given so many pieces.
  bool loads(int pieces) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [&] {
      int loads = 0;
      for (auto at = steps_.find("load "); at != std::string::npos; at = steps_.find("load ", at + 1)) {
        loads += at == 0 || steps_[at - 1] == ' ';
      }
      return loads >= pieces;
    });
  }
  /// How it ended; "" if it does not.
  std::string ending(Duration within = 20s) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, within, [&] { return !ends_.empty(); });
    return ends_.empty() ? "" : ends_.front();
  }
  std::string steps() {
    const std::lock_guard lock(mutex_);
    return steps_;
  }
  bool took(const std::string& step) { return steps().find(step) != std::string::npos; }

  testing::ManualClock clock_;
  testing::FakeSinkVm vm_{RamLayout::make({{.name = "ram0", .size = kChunkSize}}).value()};
  std::string failing_;
  Duration load_takes_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string steps_;
  std::vector<std::string> ends_;
  std::optional<DeviceLoader> loader_;
};

TEST_F(DeviceLoaderTest, UnpacksWhatCameCompressed) {
  start();
  const auto zstd = make_encoder({.id = CodecId::kZstd, .level = 1}).value();
  const auto devices = bytes(std::string(5000, 'd'));
  std::vector<std::byte> packed(devices.size());
  const EncodeJob job{.ticket = 0, .input = devices, .output = packed};
  ASSERT_EQ(zstd->submit({&job, 1}).value(), 1u);
  EncodeDone done;
  ASSERT_EQ(zstd->collect({&done, 1}, {}).value(), 1u);
  packed.resize(done.size);
  ASSERT_LT(packed.size(), 100u);
  const auto codec = static_cast<std::uint8_t>(CodecId::kZstd);
  ASSERT_TRUE(loader_->push_packed({codec, static_cast<std::uint32_t>(devices.size()), packed}));
  ASSERT_TRUE(loads(1));
  EXPECT_EQ(vm_.loaded, std::string(5000, 'd'));

  const auto refused = [&](wire::PackedDevices what) {
    const Status pushed = loader_->push_packed(what);
    return !pushed && pushed.error().kind == ErrorKind::kProtocol;
  };
  EXPECT_TRUE(refused({codec, static_cast<std::uint32_t>(devices.size()) - 1, packed})) << "of another length";
  EXPECT_TRUE(refused({99, static_cast<std::uint32_t>(devices.size()), packed})) << "of no codec";
  packed.pop_back();
  EXPECT_TRUE(refused({codec, static_cast<std::uint32_t>(devices.size()), packed})) << "cut";
}

TEST_F(DeviceLoaderTest, LoadsAtOnceWhatCameBeforeTheStop) {
  start();
  ASSERT_TRUE(loader_->push(bytes("one")));
  ASSERT_TRUE(loader_->push(bytes("two")));
  EXPECT_TRUE(loads(2));
  EXPECT_EQ(vm_.loaded, "onetwo");
  EXPECT_EQ(ending(0ns), "");
}

TEST_F(DeviceLoaderTest, HoldsBackWhatCameAfterItUntilRamIsInPlace) {
  start();
  ASSERT_TRUE(loader_->push(bytes("before")));
  loader_->guest_stopped();
  ASSERT_TRUE(loader_->push(bytes("after")));
  loader_->end_of_stream();
  ASSERT_TRUE(loads(1));
  EXPECT_EQ(ending(30ms), "");
  EXPECT_FALSE(took("finish_load"));
  EXPECT_EQ(vm_.loaded, "before");
  loader_->ram_in_place();
  EXPECT_TRUE(loads(2));
  // Devices are loaded, but something of RAM may be missing.
  EXPECT_EQ(ending(30ms), "");
  loader_->ram_complete();
  EXPECT_EQ(ending(), "prepared");
  EXPECT_EQ(vm_.loaded, "beforeafter");
  EXPECT_EQ(steps(), "load check_unchanged load finish_load await_loaded ");
}

/// While the source saves its devices, which is when nobody waits for it.
TEST_F(DeviceLoaderTest, LooksAtTheVmAgainOnceTheGuestHasStopped) {
  start();
  ASSERT_TRUE(loader_->push(bytes("before")));
  ASSERT_TRUE(loads(1));
  EXPECT_FALSE(took("check_unchanged"));
  loader_->guest_stopped();
  for (const auto end = SteadyClock().now() + 20s; !took("check_unchanged") && SteadyClock().now() < end;) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(steps().ends_with("load check_unchanged ")) << steps();
}

TEST_F(DeviceLoaderTest, CompleteRamIsInPlace) {
  start();
  loader_->ram_complete();
  loader_->guest_stopped();
  ASSERT_TRUE(loader_->push(bytes("devices")));
  loader_->end_of_stream();
  EXPECT_EQ(ending(), "prepared");
  EXPECT_EQ(vm_.loaded, "devices");
}

TEST_F(DeviceLoaderTest, WaitsForTheStreamsEnd) {
  start();
  loader_->guest_stopped();
  loader_->ram_complete();
  ASSERT_TRUE(loader_->push(bytes("devices")));
  ASSERT_TRUE(loads(1));
  EXPECT_EQ(ending(30ms), "");
  EXPECT_FALSE(took("finish_load"));
  loader_->end_of_stream();
  EXPECT_EQ(ending(), "prepared");
}

/// The end of a stream that has told nothing yet does not count before RAM is there, and breaks a rule then.
TEST_F(DeviceLoaderTest, AStreamWithoutBytesIsNoDeviceState) {
  start();
  loader_->end_of_stream();
  EXPECT_EQ(ending(30ms), "");
  loader_->ram_complete();
  EXPECT_EQ(ending(), "failed: the source sent no device state");
  EXPECT_FALSE(took("finish_load"));
}

TEST_F(DeviceLoaderTest, AFailureOfAnyStepIsTheEnd) {
  for (const std::string step : {"check_unchanged", "load", "finish_load", "await_loaded"}) {
    SCOPED_TRACE(step);
    failing_ = step;
    steps_.clear();
    ends_.clear();
    start();
    loader_->guest_stopped();
    loader_->ram_complete();
    (void)loader_->push(bytes("devices"));
    loader_->end_of_stream();
    EXPECT_EQ(ending(), "failed: the fake hypervisor's " + step);
    loader_.reset();
    EXPECT_EQ(ends_.size(), 1U);
    EXPECT_TRUE(steps_.ends_with(step + " ")) << steps_;
  }
}

TEST_F(DeviceLoaderTest, TellsHowLongDevicesTookFromTheEndOfTheWaitForRam) {
  load_takes_ = 70ms;
  start();
  ASSERT_TRUE(loader_->push(bytes("before")));
  ASSERT_TRUE(loads(1));
  loader_->guest_stopped();
  ASSERT_TRUE(loader_->push(bytes("after")));
  loader_->end_of_stream();
  clock_.advance(10s);  // the wait for RAM
  loader_->ram_complete();
  EXPECT_EQ(ending(), "prepared");
  EXPECT_EQ(loader_->took(), 70ms);
}

/// Whoever destroys it does not want to hear of it any more.
TEST_F(DeviceLoaderTest, SaysNothingWhenItIsStopped) {
  start();
  loader_->guest_stopped();
  ASSERT_TRUE(loader_->push(bytes("devices")));
  loader_.reset();
  EXPECT_TRUE(ends_.empty());
  EXPECT_EQ(vm_.loaded, "");
}

}  // namespace
}  // namespace godwit
