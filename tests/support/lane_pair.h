// A source lane and a sink lane with a connection between them, and memory of their own: what is posted arrives.
#pragma once

#include <gtest/gtest.h>

#include <mutex>
#include <optional>
#include <thread>

#include "engine/fence.h"
#include "engine/mailbox.h"
#include "engine/sink_lane.h"
#include "engine/source_lane.h"
#include "host/host_profile.h"
#include "tests/support/hash_key.h"
#include "tests/support/plain_memory.h"

namespace godwit::testing {

class LanePair {
 public:
  LanePair(const RamLayout& layout, std::optional<CodecChoice> codec, std::size_t delta_memory,
           const Kernels& kernels = best_kernels({}))
      : here(layout),
        there(layout),
        board(layout.chunk_count()),
        sent(layout.chunk_count()),
        left_out(layout.chunk_count()),
        filled(layout.chunk_count()),
        setting_{.memory = here,
                 .board = board,
                 .sent = sent,
                 .left_out = left_out,
                 .kernels = kernels,
                 .clock = clock_,
                 .codec = codec,
                 .deltas = {.key = kHashKey, .memory = delta_memory}},
        sink_setting_{there, filled, kernels, 1, [this](unsigned, std::uint32_t fence) {
                        reached_.change([&](std::uint32_t& f) { f = fence; });
                        return Status{};
                      }} {
    auto pair = make_channel_pair();
    near_ = std::move(pair->first);
    far_ = std::move(pair->second);
    far_->set_receive_timeout(std::chrono::seconds(20));
    lane_.emplace(setting_, 0, *near_);
    sender_ = std::jthread([this](std::stop_token stop) {
      const Status run = lane_->run(stop);
      EXPECT_TRUE(run || stop.stop_requested()) << run.error().message;
    });
    receiver_ = std::jthread([this] {
      const Status run = SinkLane(sink_setting_, 0, *far_).run();
      EXPECT_TRUE(run) << run.error().message;
      if (!run) reached_.change([&](std::uint32_t& f) { f = kLastFence; });
    });
  }
  ~LanePair() {
    fence(kLastFence);
    sender_.request_stop();
    board.announce();
  }

  void post(ChunkIndex chunk, PageWord pages) { board.post(chunk, pages); }
  /// Sweeps take chunks from all over from now on, also the one that is under way.
  void spread() { setting_.spread = true; }
  /// Until all that was posted has been applied, and counted.
  void copy() {
    fence(++last_);
    while (lane_->counters().busy) std::this_thread::yield();
  }
  void fence(std::uint32_t number) {
    setting_.fence = number;
    board.announce();
    const auto reached = reached_.await([&](std::uint32_t f) { return f >= number; }, std::chrono::seconds(20));
    EXPECT_GE(reached, number);
  }
  const LaneCounters& counters() const { return lane_->counters(); }
  std::uint64_t bytes_sent() const { return near_->bytes_sent(); }

  PlainMemory here;
  PlainMemory there;
  Board board;
  SharedPageWords sent;
  SharedPageWords left_out;
  FilledPages filled;

 private:
  SteadyClock clock_;
  LaneSetting setting_;
  SinkLaneSetting sink_setting_;
  Mailbox<std::uint32_t> reached_;
  std::unique_ptr<Channel> near_, far_;
  std::optional<SourceLane> lane_;
  std::uint32_t last_ = 0;
  std::jthread sender_;
  std::jthread receiver_;
};

}  // namespace godwit::testing
