// Lanes whose blocks a device encodes, behind libraries that look like the real ones: what arrives is what the source
// has, whatever the device does, and whatever the guest writes meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <random>
#include <thread>

#include "codec/accelerated_decoders.h"
#include "codec/accelerated_encoders.h"
#include "tests/support/fake_migration.h"
#include "tests/support/lane_pair.h"
#include "tests/support/model_accelerator.h"

namespace godwit::accelerated_lanes_test {
namespace {

using testing::LanePair;
using testing::ModelOfDevice;

constexpr std::size_t kPlenty = 4 << 20;

struct DeviceShape {
  CodecDevice device;
  const char* name;
  ModelOfDevice::Setting setting;
  bool is_given_up;
};

std::vector<DeviceShape> every_shape(bool decodes) {
  std::vector<DeviceShape> shapes;
  for (const CodecDevice device : {CodecDevice::kQat, CodecDevice::kIaa}) {
    const bool qat = device == CodecDevice::kQat;
    shapes.push_back({device, qat ? "Qat" : "Iaa", {{"ORDER", "random"}}, false});
    shapes.push_back({device,
                      qat ? "QatBusyAndFailing" : "IaaBusyAndFailing",
                      {{"ORDER", "random"}, {"QUEUE", "4"}, {"BUSY", "20"}, {"ERRORS", "20"}, {"WELL", "8"}},
                      qat});  // QATzip cannot be trusted after a failure
    shapes.push_back({device, qat ? "QatRefusing" : "IaaRefusing", {{"ORDER", "random"}, {"REFUSES", "30"}}, false});
    // What is decoded wrongly the library decodes again.
    if (!decodes) {
      shapes.push_back(
          {device, qat ? "QatLost" : "IaaLost", {{"ORDER", "random"}, {"GARBAGE", "50"}, {"WELL", "12"}}, true});
    }
    shapes.push_back({device, qat ? "QatHangs" : "IaaHangs", {{"ORDER", "random"}, {"HANGS", "25"}}, true});
    for (const unsigned after : {5U, 9U, 30U, 100U}) {
      static std::deque<std::string> names;
      names.push_back((qat ? "QatVanishesAfter" : "IaaVanishesAfter") + std::to_string(after));
      shapes.push_back(
          {device, names.back().c_str(), {{"ORDER", "random"}, {"VANISHES", std::to_string(after)}}, true});
    }
  }
  return shapes;
}

/// One that hangs is noticed soon; the others have all the time that a slow machine takes.
Duration least_patience_of(const DeviceShape& shape) {
  return shape.setting.contains("HANGS") ? Duration(std::chrono::milliseconds(200)) : Duration::max();
}

std::string name_of_shape(const ::testing::TestParamInfo<DeviceShape>& info) {
  return info.param.name;
}

class AcceleratedLanes : public ::testing::TestWithParam<DeviceShape> {
 protected:
  void SetUp() override {
    model_.emplace(GetParam().device, GetParam().setting);
    auto opened = model_->open(std::chrono::seconds(60), false, 0, least_patience_of(GetParam()));
    ASSERT_TRUE(opened) << opened.error().message;
    encoders_.emplace(std::move(*opened), cpu_, [this](std::string_view note) {
      const std::lock_guard lock(mutex_);
      notes_.emplace_back(note);
    });
  }
  void TearDown() override {
    encoders_.reset();
    model_.reset();
  }
  /// Nobody waits for a device that hangs: it is noticed as lanes go on.
  void write_until_given_up(LanePair& lanes, std::mt19937_64& random) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (GetParam().setting.contains("HANGS") && encoders_->use().given_up.empty() &&
           std::chrono::steady_clock::now() < until) {
      testing::write_pages(lanes, 60, random);
      lanes.copy();
    }
    ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes());
  }
  CodecChoice codec() const { return {.id = CodecId::kDeflate, .level = 1, .device = GetParam().device}; }
  void expect_use() {
    const AcceleratorUse use = encoders_->use();
    EXPECT_EQ(use.given_up.empty(), !GetParam().is_given_up) << use.given_up;
    EXPECT_EQ(notes_.size(), GetParam().is_given_up ? 1U : 0U);
    // Blocks that did not become smaller went raw, but none of the CPU's is among the device's.
    EXPECT_LE(by_device_, use.blocks);
    EXPECT_TRUE(by_cpu_ > 0 || use.failed + use.busy == 0);
    // One that vanishes takes with it what it had.
    EXPECT_TRUE(use.blocks > 0 || GetParam().is_given_up);
  }

  SoftwareEncoders cpu_;
  std::uint64_t by_device_ = 0;
  std::uint64_t by_cpu_ = 0;
  std::mutex mutex_;
  std::vector<std::string> notes_;
  std::optional<ModelOfDevice> model_;
  std::optional<AcceleratedEncoders> encoders_;
};

TEST_P(AcceleratedLanes, TheSinkEndsWithTheSourcesBytes) {
  for (const unsigned count : {1U, 3U}) {
    std::mt19937_64 random(count);
    LanePair lanes(testing::ram_of_chunks(5 * count),
                   {.codec = codec(), .delta_memory = kPlenty, .lanes = count, .encoders = &*encoders_});
    for (int round = 0; round < 12; ++round) {
      for (int again = 0; again < 4; ++again) {
        testing::write_pages(lanes, 60 * count, random);
        lanes.board.announce();
      }
      lanes.copy();
      ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
    }
    write_until_given_up(lanes, random);
    EXPECT_EQ(lanes.counters().encoders_given_up, 0U);
    EXPECT_EQ(lanes.counters().blocks_not_encoded, 0U) << "what the device does not do, the CPU does";
    for (const CodecUse& use : lanes.codecs()) {
      if (use.codec.device == CodecDevice::kCpu) {
        by_cpu_ += use.codec.id == CodecId::kDeflate ? use.blocks : 0;
      } else {
        by_device_ += use.blocks;
      }
    }
  }
  expect_use();
}

/// With `auto` the governor has it beside its codec levels.
TEST_P(AcceleratedLanes, TheGovernorUsesItAndTheBytesArrive) {
  encoders_->offer(GetParam().device);
  std::mt19937_64 random(5);
  LanePair lanes(testing::ram_of_chunks(10), {.delta_memory = kPlenty, .lanes = 2, .encoders = &*encoders_});
  for (int round = 0; round < 12; ++round) {
    testing::write_pages(lanes, 200, random);
    lanes.copy();
    ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
  }
  EXPECT_EQ(lanes.counters().encoders_given_up, 0U);
}

/// The sink's lanes: what the device does not do, the library does. The source encodes by the CPU.
class AcceleratedDecoding : public ::testing::TestWithParam<DeviceShape> {};

TEST_P(AcceleratedDecoding, TheSinkEndsWithTheSourcesBytes) {
  const ModelOfDevice model(GetParam().device, GetParam().setting);
  auto opened = model.open(std::chrono::seconds(60), true, 0, least_patience_of(GetParam()));
  ASSERT_TRUE(opened) << opened.error().message;
  AcceleratedDecoders decoders(std::move(*opened));
  for (const unsigned count : {1U, 3U}) {
    std::mt19937_64 random(count);
    LanePair lanes(
        testing::ram_of_chunks(5 * count),
        {.codec = CodecChoice{CodecId::kDeflate, 1}, .delta_memory = kPlenty, .lanes = count, .decoders = &decoders});
    for (int round = 0; round < 12; ++round) {
      for (int again = 0; again < 4; ++again) {
        testing::write_pages(lanes, 60 * count, random);
        lanes.board.announce();
      }
      lanes.copy();
      ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
    }
  }
  // One that vanishes may do so with all that it has been given.
  EXPECT_TRUE(GetParam().is_given_up || decoders.use().blocks > 0);
  EXPECT_EQ(decoders.use().given_up.empty(), !GetParam().is_given_up);
}

INSTANTIATE_TEST_SUITE_P(Devices, AcceleratedDecoding, ::testing::ValuesIn(every_shape(true)), name_of_shape);
INSTANTIATE_TEST_SUITE_P(Devices, AcceleratedLanes, ::testing::ValuesIn(every_shape(false)), name_of_shape);

struct SlowDevice {
  CodecDevice device;
  bool governed;
  const char* queue;  ///< requests that it holds at once
};

/// One that answers nothing until it is told to.
class LanesOfASlowDevice : public ::testing::TestWithParam<SlowDevice> {};

TEST_P(LanesOfASlowDevice, TheLinkIsNotIdleWhileChunksWait) {
  const auto& [device, governed, queue] = GetParam();
  const ModelOfDevice model(device, {{"QUEUE", queue}});
  SoftwareEncoders cpu;
  AcceleratedEncoders encoders(model.open().value(), cpu, {});
  encoders.offer(device);
  const CodecChoice codec{.id = CodecId::kDeflate, .level = 1, .device = device};
  LanePair lanes(testing::ram_of_chunks(60),
                 {.codec = governed ? std::nullopt : std::optional(codec), .encoders = &encoders});
  for (std::uint32_t chunk = 0; chunk < 60; ++chunk) {
    for (unsigned page = 0; page < kPagesPerChunk; ++page) {
      std::byte* const bytes = lanes.here.at(ChunkIndex{chunk}, page);
      for (std::size_t i = 0; i < kPageSize; ++i) bytes[i] = std::byte(i * i / 7 + page * i + chunk);
    }
  }
  model.hold(true);
  // Whoever waits for the device is found out by what it has done then, and not left waiting.
  std::jthread lets_go([&](std::stop_token stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait_for(lock, stop, std::chrono::seconds(15), [] { return false; });
    model.hold(false);
  });
  for (std::uint32_t chunk = 0; chunk < 60; ++chunk) lanes.post(ChunkIndex{chunk}, ~PageWord{0});
  lanes.copy();
  EXPECT_EQ(encoders.use().blocks, 0U) << "chunks have waited for the device while the link had nothing to send";
  EXPECT_TRUE(lanes.here.bytes() == lanes.there.bytes());
  EXPECT_GT(encoders.use().busy, 0U);
  lets_go.request_stop();
  lets_go.join();
  // It goes on with whatever the device does then.
  std::mt19937_64 random(1);
  for (int round = 0; round < 6; ++round) {
    testing::write_pages(lanes, 300, random);
    lanes.copy();
    ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
  }
  EXPECT_EQ(lanes.counters().encoders_given_up, 0U);
}

INSTANTIATE_TEST_SUITE_P(
    Devices, LanesOfASlowDevice,
    ::testing::Values(SlowDevice{CodecDevice::kQat, false, "2"}, SlowDevice{CodecDevice::kQat, false, "64"},
                      SlowDevice{CodecDevice::kQat, true, "64"}, SlowDevice{CodecDevice::kIaa, false, "2"},
                      SlowDevice{CodecDevice::kIaa, false, "64"}, SlowDevice{CodecDevice::kIaa, true, "64"}),
    [](const auto& tested) {
      const SlowDevice& slow = tested.param;
      return std::string(slow.device == CodecDevice::kQat ? "Qat" : "Iaa") + (slow.governed ? "Governed" : "") +
             "Queue" + slow.queue;
    });

/// A whole migration of a guest that writes all the time, with a device that takes long to read: what it reads is the
/// lane's copy, which the guest's writes do not change (the model would see it), and the page comes again.
class AcceleratedMigration : public testing::FakeMigration, public ::testing::WithParamInterface<CodecDevice> {
 protected:
  AcceleratedMigration() : FakeMigration(testing::ram_of_chunks(40)) {}
  static constexpr unsigned kReadsWithWrites = 40;  ///< more, and the guest would not converge
};

TEST_P(AcceleratedMigration, MovesEveryByteOfAGuestThatWritesWhileTheDeviceReads) {
  SoftwareEncoders cpu;
  std::atomic<unsigned> reads{0};
  ModelOfDevice model(GetParam(), {{"ORDER", "random"}, {"LATENCY", "2000"}, {"VANISHES", "400"}});
  AcceleratedEncoders encoders(model.open().value(), cpu, {});
  model.amid_read([&](const std::byte*, std::size_t) {
    if (reads++ < kReadsWithWrites) source_.run_ahead(3);
  });
  encoders_ = &encoders;
  goals_.lanes = 2;
  goals_.codec = CodecChoice{.id = CodecId::kDeflate, .level = 1, .device = GetParam()};
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  EXPECT_TRUE(sink_.runs());
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
  EXPECT_GT(encoders.use().blocks, 0U);
  EXPECT_EQ(model.inputs_changed(), 0U);
  EXPECT_GT(reads, 0U) << "the guest has written during reads";
  EXPECT_GT(report.pages_resent, 0U);
}

/// The same without a copy: IAA's model reads the pages themselves, and sees what the guest writes.
TEST_P(AcceleratedMigration, MovesEveryByteThoughTheDeviceReadsWhatTheGuestWrites) {
  SoftwareEncoders cpu;
  std::atomic<unsigned> reads{0};
  ModelOfDevice model(GetParam(), {{"ORDER", "random"}});
  model.inputs_may_change();
  AcceleratedEncoders encoders(model.open().value(), cpu, {});
  encoders_ = &encoders;
  source_.with_memory([](auto& memory) {
    memory.viewable = true;
    for (std::uint32_t chunk = 0; chunk < memory.layout().chunk_count(); ++chunk) {
      std::byte* const bytes = memory.at(ChunkIndex{chunk}, 0);
      for (std::size_t i = 0; i < kChunkSize; ++i) bytes[i] = std::byte(i / 5 + chunk);
    }
  });
  // Not before, for pages of zeros would come in between.
  source_.rests = true;
  model.amid_read([&](const std::byte*, std::size_t) {
    source_.rests = false;
    if (reads++ < 4) source_.run_ahead(3);
  });
  goals_.lanes = 2;
  goals_.delta_memory = 0;
  goals_.codec = CodecChoice{.id = CodecId::kDeflate, .level = 1, .device = GetParam()};
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
  if (GetParam() == CodecDevice::kQat) {
    EXPECT_GT(encoders.use().in_place, 0U);
  } else {
    EXPECT_GT(model.inputs_changed(), 0U) << "the guest has written to what the device was reading";
    EXPECT_GT(encoders.use().changed, 0U) << "and that was noticed";
  }
  EXPECT_EQ(encoders.use().given_up, "");
}

INSTANTIATE_TEST_SUITE_P(Devices, AcceleratedMigration, ::testing::Values(CodecDevice::kQat, CodecDevice::kIaa),
                         [](const auto& tested) { return tested.param == CodecDevice::kQat ? "Qat" : "Iaa"; });

}  // namespace
}  // namespace godwit::accelerated_lanes_test
