// The lanes of a source: their channels, threads and totals.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "engine/source_lane.h"

namespace godwit {

/// Blocks that went with one codec.
struct CodecUse {
  CodecChoice codec;
  std::uint64_t blocks = 0;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
};

/// Coordinator's thread, except for abort().
class SourceLanes {
 public:
  explicit SourceLanes(LaneSetting& setting) : setting_(setting) {}
  ~SourceLanes() { stop(); }

  void add(std::unique_ptr<Channel> channel);
  /// Starts one thread a lane. `on_failed` is called from the thread of a lane that has failed.
  void start(std::function<void(Error)> on_failed);
  /// Ends them and their channels, whatever they wait for. What they have counted stays in the totals; others may be
  /// added.
  void retire();
  /// Every lane sweeps its chunks once more and then sends this fence.
  void fence(std::uint32_t number);
  /// Every lane sends this fence where it is in its sweep.
  void early_fence(std::uint32_t number);
  /// No lane is at work. Together with an empty board: all that was posted has been given to the network.
  bool idle() const noexcept;
  /// Every lane has been through all of its chunks: what waited at first has been claimed.
  bool have_swept() const noexcept;
  /// Every lane has given the network this fence, or a later one.
  bool have_sent(std::uint32_t fence) const noexcept;
  LaneTotals totals() const noexcept;
  /// A lane has failed because what it sent did not arrive, almost from the beginning.
  bool never_got_through() const noexcept { return never_got_through_; }
  /// None has been retired.
  bool are_first() const noexcept { return are_first_; }
  /// Every codec level that lanes may use, raw first.
  /// By level; and, last, what the CPU did in place of a device.
  std::vector<CodecUse> codecs() const;
  /// As Link::bear_silence(), of all of them.
  void bear_silence(Duration dead_after) noexcept {
    for (const auto& channel : channels_) channel->link().bear_silence(dead_after);
  }
  /// As Link::queueing(), of the lane before which the least waits: others' delays may be their peer's.
  Duration queueing() const noexcept;
  void abort() noexcept;
  /// Stops and joins; the channels stay open.
  void stop();

 private:
  LaneSetting& setting_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::vector<std::unique_ptr<SourceLane>> lanes_;
  std::atomic<bool> never_got_through_{false};
  bool are_first_ = true;
  LaneTotals retired_;
  std::vector<CodecUse> retired_codecs_;
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
