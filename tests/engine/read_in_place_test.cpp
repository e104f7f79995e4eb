// Devices that read guest RAM where it lies, while the guest writes to it: what arrives is what the page was at one
// time, and at the end what it is.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <mutex>
#include <random>

#include "codec/accelerated_encoders.h"
#include "tests/support/lane_pair.h"
#include "tests/support/model_accelerator.h"
#include "tests/support/racy_on_purpose.h"

namespace godwit::read_in_place_test {
namespace {

using testing::LanePair;
using testing::ModelOfDevice;
using testing::RacyOnPurpose;

/// A page that becomes smaller, another one for each state.
void write_state(std::byte* page, unsigned state) {
  const RacyOnPurpose racy;
  for (std::size_t i = 0; i < kPageSize; ++i) page[i] = std::byte(i / 3 * state + i % 5);
}

bool is_state(const std::byte* page, unsigned state) {
  std::array<std::byte, kPageSize> expected;
  write_state(expected.data(), state);
  return std::memcmp(page, expected.data(), kPageSize) == 0;
}

class ReadInPlace : public ::testing::TestWithParam<CodecDevice> {
 protected:
  bool is_direct() const { return GetParam() == CodecDevice::kIaa; }
  void begin(ModelOfDevice::Setting setting, unsigned chunks, std::size_t delta_memory = 0) {
    model_.emplace(GetParam(), std::move(setting));
    model_->inputs_may_change();
    encoders_.emplace(model_->open().value(), cpu_, [this](std::string_view note) { notes_.emplace_back(note); });
    lanes_.emplace(
        testing::ram_of_chunks(chunks),
        testing::LanePairSetting{.codec = CodecChoice{.id = CodecId::kDeflate, .level = 1, .device = GetParam()},
                                 .delta_memory = delta_memory,
                                 .encoders = &*encoders_});
    lanes_->here.viewable = true;
  }
  /// What the guest does when the device has read the first half of a block.
  void amid_read(ModelOfDevice::AmidRead does) {
    {
      const std::lock_guard lock(mutex_);
      guest_ = std::move(does);
    }
    model_->amid_read([this](const std::byte* input, std::size_t length) {
      const std::lock_guard lock(mutex_);
      if (guest_) guest_(input, length);
    });
  }
  /// The device may still be at work on what nobody waits for.
  void end_guest() {
    const std::lock_guard lock(mutex_);
    guest_ = {};
  }
  void TearDown() override {
    end_guest();
    lanes_.reset();
    encoders_.reset();
    model_.reset();
  }

  /// On a busy machine the CPU may encode for many rounds what the device has been given and is late with.
  static constexpr int kMostRounds = 300;

  SoftwareEncoders cpu_;
  std::vector<std::string> notes_;
  std::optional<ModelOfDevice> model_;
  std::optional<AcceleratedEncoders> encoders_;
  std::optional<LanePair> lanes_;
  std::mutex mutex_;
  ModelOfDevice::AmidRead guest_;
};

/// An odd number of pages: in the middle of the read the device is in the middle of a page.
TEST_P(ReadInPlace, WhatIsWrittenDuringTheReadArrivesAsOneOfItsStates) {
  begin({}, 2);
  constexpr ChunkIndex kChunk{1};
  constexpr PageWord kPages = 0b11100;
  for (unsigned page = 2; page < 5; ++page) write_state(lanes_->here.at(kChunk, page), 1);
  unsigned writes = 0;
  amid_read([&](const std::byte* input, std::size_t length) {
    // QATzip's model reads what has been copied from there.
    EXPECT_EQ(input == lanes_->here.at(kChunk, 2), is_direct());
    EXPECT_EQ(length, 3 * kPageSize);
    if (writes++ > 0) return;
    for (unsigned page = 2; page < 5; ++page) write_state(lanes_->here.at(kChunk, page), 2);
  });
  lanes_->post(kChunk, kPages);
  lanes_->copy();
  end_guest();
  EXPECT_EQ(writes, 1U);
  EXPECT_EQ(model_->inputs_changed(), is_direct() ? 1U : 0U) << "the guest has written during the read";
  EXPECT_EQ(encoders_->use().changed, is_direct() ? 1U : 0U) << "that is noticed";
  EXPECT_EQ(encoders_->use().in_place, is_direct() ? 0U : 1U);
  for (unsigned page = 2; page < 5; ++page) {
    const std::byte* const arrived = lanes_->there.at(kChunk, page);
    EXPECT_TRUE(is_state(arrived, 1) || is_state(arrived, 2)) << "page " << page << " has never been like that";
  }
  // As the tracker does with what was written.
  lanes_->post(kChunk, kPages);
  lanes_->copy();
  EXPECT_TRUE(lanes_->here.bytes() == lanes_->there.bytes());
  EXPECT_EQ(encoders_->use().failed, 0U);
  EXPECT_EQ(encoders_->use().given_up, "");
}

/// Every third read; the pages come again, and are written again.
TEST_P(ReadInPlace, AGuestThatWritesAllTheTimeArrives) {
  constexpr unsigned kChunks = 12;
  begin({{"ORDER", "random"}}, kChunks);
  std::mt19937_64 random(4);
  unsigned reads = 0;
  amid_read([&](const std::byte*, std::size_t) {
    if (++reads % 3 != 0) return;
    // Of a few chunks, so that some are at the device.
    const ChunkIndex chunk{static_cast<std::uint32_t>(random() % 3)};
    for (unsigned page = 0; page < kPagesPerChunk; ++page) {
      write_state(lanes_->here.at(chunk, page), static_cast<unsigned>(random() % 200 + 1));
    }
    lanes_->post(chunk, kAllPages);
    lanes_->board.announce();
  });
  for (int round = 0; round < 8; ++round) {
    for (std::uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      for (unsigned page = 0; page < kPagesPerChunk; ++page) {
        write_state(lanes_->here.at(ChunkIndex{chunk}, page), static_cast<unsigned>(round + 1));
      }
      lanes_->post(ChunkIndex{chunk}, kAllPages);
    }
    lanes_->copy();
  }
  end_guest();
  lanes_->copy();
  EXPECT_TRUE(lanes_->here.bytes() == lanes_->there.bytes());
  EXPECT_GT(encoders_->use().in_place, 0U);
  EXPECT_EQ(encoders_->use().given_up, "");
}

/// Whatever the device does: what it does not encode is copied.
TEST_P(ReadInPlace, TheSinkEndsWithTheSourcesBytesWhateverTheDeviceDoes) {
  using Setting = ModelOfDevice::Setting;
  const Setting settings[] = {
      {{"ORDER", "random"}},
      {{"ORDER", "random"}, {"QUEUE", "4"}, {"BUSY", "20"}, {"ERRORS", "20"}, {"WELL", "8"}},
      {{"ORDER", "random"}, {"REFUSES", "30"}},
      {{"ORDER", "random"}, {"GARBAGE", "30"}, {"WELL", "12"}},
      {{"ORDER", "random"}, {"VANISHES", "30"}},
  };
  for (const Setting& setting : settings) {
    begin(setting, 10);
    std::mt19937_64 random(3);
    // One that is given up takes with it what it had.
    const auto is_used = [this] { return encoders_->use().in_place > 0 || !encoders_->use().given_up.empty(); };
    for (int round = 0; round < 10 || (!is_used() && round < kMostRounds); ++round) {
      for (int again = 0; again < 4; ++again) {
        for (int chunks = 0; chunks < 5; ++chunks) {
          const ChunkIndex chunk{static_cast<std::uint32_t>(random() % 10)};
          for (unsigned page = 0; page < kPagesPerChunk; ++page) {
            write_state(lanes_->here.at(chunk, page), static_cast<unsigned>(random() % 200 + 1));
          }
          lanes_->post(chunk, kAllPages);
        }
        testing::write_pages(*lanes_, 20, random);
        lanes_->board.announce();
      }
      lanes_->copy();
      ASSERT_TRUE(lanes_->here.bytes() == lanes_->there.bytes()) << "round " << round;
    }
    EXPECT_TRUE(is_used());
    EXPECT_EQ(lanes_->counters().encoders_given_up, 0U);
    TearDown();
  }
}

/// What a lane keeps of a page has to be of the very bytes that it sends.
TEST_P(ReadInPlace, NothingIsWhereDeltasAreSought) {
  begin({}, 4, 4 << 20);
  std::mt19937_64 random(3);
  for (int round = 0; round < 4 || (encoders_->use().blocks == 0 && round < kMostRounds); ++round) {
    testing::write_pages(*lanes_, 300, random);
    lanes_->copy();
    ASSERT_TRUE(lanes_->here.bytes() == lanes_->there.bytes()) << "round " << round;
  }
  EXPECT_GT(encoders_->use().blocks, 0U);
  EXPECT_EQ(encoders_->use().in_place, 0U);
  EXPECT_EQ(encoders_->facts().text(encoders_->use()).find("guest RAM"), std::string::npos)
      << encoders_->facts().text(encoders_->use());
}

/// From the fence that lets devices load, pages go whole: the pause's last ones, and those of a guest that runs at the
/// sink already.
TEST_P(ReadInPlace, TheLastPagesAreThoughDeltasWereSought) {
  begin({}, 4, 4 << 20);
  for (const unsigned state : {1U, 2U}) {
    for (std::uint32_t chunk = 0; chunk < 4; ++chunk) {
      for (unsigned page = 0; page < kPagesPerChunk; ++page) {
        write_state(lanes_->here.at(ChunkIndex{chunk}, page), state);
      }
      lanes_->post(ChunkIndex{chunk}, kAllPages);
    }
    lanes_->fence(state == 1 ? kMissingFence : kDevicesFence);
    EXPECT_TRUE(lanes_->here.bytes() == lanes_->there.bytes());
    EXPECT_EQ(encoders_->use().in_place > 0, state == 2);
  }
}

/// Pages that become no smaller go raw, copied: what goes through a connection stays as it is.
TEST_P(ReadInPlace, WhatIsDenseGoesRaw) {
  begin({}, 2);
  std::mt19937_64 random(3);
  for (unsigned page = 0; page < kPagesPerChunk; ++page) {
    testing::fill_at_random(lanes_->here, ChunkIndex{1}, page, random);
  }
  lanes_->post(ChunkIndex{1}, kAllPages);
  lanes_->copy();
  EXPECT_TRUE(lanes_->here.bytes() == lanes_->there.bytes());
  EXPECT_EQ(lanes_->counters().blocks_not_encoded, 0U);
  EXPECT_EQ(encoders_->use().in_place, 1U);
  EXPECT_NE(encoders_->facts().text(encoders_->use()).find("guest RAM for 1 block"), std::string::npos)
      << encoders_->facts().text(encoders_->use());
}

/// One that lies about what nobody has written to is found out as ever, though not at the first time.
TEST_P(ReadInPlace, ADeviceThatLiesIsGivenUp) {
  begin({{"GARBAGE", "100"}, {"WELL", "4"}}, 20);
  for (unsigned round = 0; round < 200 && encoders_->use().given_up.empty(); ++round) {
    const ChunkIndex chunk{round % 20};
    for (unsigned page = 0; page < kPagesPerChunk; ++page) write_state(lanes_->here.at(chunk, page), round + 1);
    lanes_->post(chunk, kAllPages);
    lanes_->copy();
    ASSERT_TRUE(lanes_->here.bytes() == lanes_->there.bytes()) << "round " << round;
  }
  EXPECT_NE(encoders_->use().given_up, "");
}

INSTANTIATE_TEST_SUITE_P(Devices, ReadInPlace, ::testing::Values(CodecDevice::kQat, CodecDevice::kIaa),
                         [](const auto& tested) { return tested.param == CodecDevice::kQat ? "Qat" : "Iaa"; });

}  // namespace
}  // namespace godwit::read_in_place_test
