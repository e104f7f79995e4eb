// The lanes of a sink: their channels, threads, and which fences all of them have passed.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/sink_lane.h"

namespace godwit {

/// Coordinator's thread, except for abort().
class SinkLanes {
 public:
  using Channels = std::vector<std::unique_ptr<Channel>>;
  /// What was sent before this fence has been applied, by all lanes. From their threads, one call at a time, the fences
  /// in rising order.
  using OnPassed = std::function<Status(std::uint32_t fence)>;

  /// What is given by reference outlives it; `in_a_row` as in LaneShares. `on_note` is called from the lanes' threads.
  SinkLanes(Channels channels, std::uint32_t in_a_row, PagePlacer& placer, const Kernels& kernels,
            DecoderProvider& decoders, OnPassed on_passed, std::function<void(std::string_view)> on_note);
  ~SinkLanes() { stop(); }

  /// Starts one thread a lane, named after the migration. `on_failed` is called from them.
  void start(const std::string& id, std::function<void(Error)> on_failed);
  /// All lanes have come to kMissingFence and wait there, or `seconds` are over; false: not yet, look for failures.
  bool await_all_at_gate(Duration at_most);
  /// They go on, and put what comes into place by this placer, which outlives them.
  void open_gate(PagePlacer& placer);
  /// As Link::bear_silence(), of all of them.
  void bear_silence(Duration dead_after) noexcept {
    for (const auto& channel : channels_) channel->link().bear_silence(dead_after);
  }
  void abort() noexcept;
  /// Aborts and joins.
  void stop();
  std::uint64_t bytes_received() const noexcept;

 private:
  void run(unsigned number);
  Status on_fence(unsigned lane, std::uint32_t fence);
  Status wait_at_gate(std::unique_lock<std::mutex>& lock);

  Channels channels_;
  OnPassed on_passed_;
  SinkLaneSetting setting_;
  std::function<void(Error)> on_failed_;
  std::mutex mutex_;
  std::vector<std::uint32_t> fences_;  ///< the latest of each lane
  std::uint32_t passed_ = 0;           ///< by all lanes
  std::condition_variable gate_;
  std::size_t at_gate_ = 0;
  bool gate_open_ = false;
  std::stop_source stop_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
