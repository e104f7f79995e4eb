// What a connection does while its lane has no block to send says nothing about blocks: the governor is not told.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "engine/source_lane.h"
#include "host/host_profile.h"
#include "tests/support/hash_key.h"
#include "tests/support/manual_clock.h"
#include "tests/support/plain_memory.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

/// Takes everything at once, and says that it waited where the test wants that.
class WaitingChannel final : public Channel, private Link {
 public:
  Status write(std::span<const iovec> parts, const Deadline&) override {
    for (const iovec& part : parts) sent_ += part.iov_len;
    (parts.size() == 1 ? on_header : on_block)();
    return {};
  }
  Result<std::size_t> read(MutableBytes, std::size_t, const Deadline&) override {
    return fail(ErrorKind::kPeerLost, "nobody sends");
  }
  Status shut_down() override { return {}; }
  void abort() noexcept override {}
  Link& link() noexcept override { return *this; }

  void wait(Duration time) { waited_ += time.count(); }

  std::function<void()> on_header = [] {};  ///< a frame without a block is sent
  std::function<void()> on_block = [] {};

 private:
  std::uint64_t bytes_sent() const noexcept override { return sent_; }
  std::uint64_t bytes_received() const noexcept override { return 0; }
  SendWaits send_waits() const noexcept override { return {.total = Duration(waited_.load())}; }
  void bear_silence(Duration) noexcept override {}
  Duration queueing() const noexcept override { return {}; }
  SendQueue send_queue() noexcept override { return {}; }
  int descriptor() const noexcept override { return -1; }
  const std::string& peer() const noexcept override { return peer_; }
  std::string security() const override { return {}; }

  const std::string peer_ = "nobody";
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<Duration::rep> waited_{0};
};

/// A governed lane on a link that is so fast that encoding is not worth it, as the lane has found out.
class IdleLane : public ::testing::Test {
 protected:
  void SetUp() override {
    std::mt19937_64 random(2);
    for (unsigned page = 0; page < kPagesPerChunk; ++page) {
      std::byte* const bytes = memory_.at(kData, page);
      for (std::size_t i = 0; i < kPageSize; ++i) bytes[i] = static_cast<std::byte>('0' + random() % 48);
    }
    lane_.emplace(setting_, 0, channel_);
    sender_ = std::jthread([this](std::stop_token stop) { EXPECT_TRUE(lane_->run(stop)); });
    for (int i = 0; i < 300; ++i) send(kData);
    ASSERT_EQ(encoded_of(20), 0U);
  }
  void TearDown() override {
    sender_.request_stop();
    board_.announce();
  }
  void send(ChunkIndex chunk) {
    board_.post(chunk, kAllPages);
    board_.announce();
    await_idle();
  }
  void await_idle() {
    while (board_.waiting() > 0 || lane_->counters().busy) std::this_thread::yield();
  }
  void wait_long() {
    clock_.advance(10s);
    channel_.wait(10s);
  }
  /// Blocks that were not sent raw, of so many, each sent after `meanwhile`.
  template <typename Meanwhile>
  std::uint64_t encoded_of(int blocks, Meanwhile meanwhile) {
    const auto before = encoded();
    for (int i = 0; i < blocks; ++i) {
      meanwhile();
      send(kData);
    }
    return encoded() - before;
  }
  std::uint64_t encoded_of(int blocks) {
    return encoded_of(blocks, [] {});
  }

  static constexpr ChunkIndex kZeros{0};
  static constexpr ChunkIndex kData{1};

  testing::ManualClock clock_;
  testing::PlainMemory memory_{RamLayout::make({{.name = "ram0", .size = 2 * kChunkSize}}).value()};
  Board board_{2};
  SharedPageWords sent_{2};
  SharedPageWords left_out_{2};
  SoftwareEncoders encoders_;
  WaitingChannel channel_;
  LaneSetting setting_{.memory = memory_,
                       .board = board_,
                       .sent = sent_,
                       .left_out = left_out_,
                       .kernels = best_kernels({}),
                       .clock = clock_,
                       .encoders = encoders_,
                       .deltas = {.key = testing::kHashKey}};
  std::optional<SourceLane> lane_;
  std::jthread sender_;

 private:
  std::uint64_t encoded() const {
    std::uint64_t sum = 0;
    for (const auto& use : lane_->counters().levels) sum += use.blocks;
    return sum - lane_->counters().levels[0].blocks;
  }
};

TEST_F(IdleLane, WaitsForABlockCount) {
  channel_.on_block = [this] { wait_long(); };
  EXPECT_GT(encoded_of(100), 50U);
}

TEST_F(IdleLane, WhatTheConnectionDidBetweenSweepsDoesNotCount) {
  EXPECT_EQ(encoded_of(100, [this] { wait_long(); }), 0U);
}

TEST_F(IdleLane, WaitsForAFrameWithoutABlockDoNotCount) {
  channel_.on_header = [this] { wait_long(); };
  // In one sweep: the frame of zeros goes first, and its wait is not that of the block after it.
  EXPECT_EQ(encoded_of(100, [this] { board_.post(kZeros, kAllPages); }), 0U);
  EXPECT_GT(lane_->counters().pages_zero, 99 * kPagesPerChunk);
}

}  // namespace
}  // namespace godwit
