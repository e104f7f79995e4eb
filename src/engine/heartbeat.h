// A thread that says once a second that this side is alive, and keeps the peak of this engine's memory on the way.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/process_usage.h"
#include "wire/control.h"

namespace godwit {

/// The peer counts as dead after so long without a byte on the control connection: six heartbeats.
inline constexpr Duration kPeerDeadAfter = std::chrono::seconds(6);

class Heartbeat {
 public:
  explicit Heartbeat(wire::ControlConnection& control)
      : thread_([this, &control](std::stop_token stop) { beat(control, stop); }) {}

  std::uint64_t peak_memory() const noexcept { return std::max(peak_.load(), anonymous_memory()); }

 private:
  void beat(wire::ControlConnection& control, std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    for (unsigned tick = 0; !stop.stop_requested(); ++tick) {
      peak_ = std::max(peak_.load(), anonymous_memory());
      // A failure to send shows in the control connection's reader, which knows what to do about it.
      if (tick % 5 == 0) (void)control.send(wire::Heartbeat{});
      stopped.wait_for(lock, stop, std::chrono::milliseconds(200), [] { return false; });
    }
  }
  std::atomic<std::uint64_t> peak_{0};
  std::jthread thread_;
};

}  // namespace godwit
