// A thread that says again and again that this side is alive, and keeps the peak of this engine's memory on the way.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/cpu_account.h"
#include "engine/process_usage.h"
#include "wire/control.h"

namespace godwit {

inline constexpr Duration kHeartbeatEvery = std::chrono::seconds(1);
/// The peer counts as dead after so long without a byte on the control connection: six heartbeats.
inline constexpr Duration kPeerDeadAfter = std::chrono::seconds(6);
/// Where memory follows a guest that runs already nobody gives up on a short silence: it would lose the guest.
inline constexpr Duration kPostcopyPatience = std::chrono::minutes(10);

class Heartbeat {
 public:
  Heartbeat(wire::ControlConnection& control, Duration every)
      : thread_(job_thread([this, &control, every](const std::stop_token& stop) { beat(control, every, stop); })) {}

  std::uint64_t peak_memory() const noexcept { return std::max(peak_.load(), anonymous_memory()); }

 private:
  void beat(wire::ControlConnection& control, Duration every, const std::stop_token& stop) {
    constexpr unsigned kLooks = 5;  // at the memory, to one beat
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    for (unsigned tick = 0; !stop.stop_requested(); ++tick) {
      peak_ = std::max(peak_.load(), anonymous_memory());
      // A failure to send shows in the control connection's reader, which knows what to do about it.
      if (tick % kLooks == 0) (void)control.send(wire::Heartbeat{});
      stopped.wait_for(lock, stop, every / kLooks, [] { return false; });
    }
  }
  std::atomic<std::uint64_t> peak_{0};
  std::jthread thread_;
};

}  // namespace godwit
