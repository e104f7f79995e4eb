// Clocks that are moved by hand.
#pragma once

#include <atomic>
#include <thread>

#include "base/clock.h"

namespace godwit::testing {

class ManualClock final : public Clock {
 public:
  Instant now() const noexcept override { return Instant(Duration(now_.load())); }
  void advance(Duration by) noexcept { now_ += by.count(); }

 private:
  std::atomic<Instant::rep> now_{0};
};

/// Real time, and the leaps that it is made to take besides.
class LeapingClock final : public Clock {
 public:
  Instant now() const noexcept override {
    if (std::this_thread::get_id() == leaper_.load()) {
      ++looks_;
      looks_.notify_all();
    }
    return SteadyClock().now() + Duration(leapt_.load());
  }
  void leap(Duration by) noexcept {
    leapt_ += by.count();
    looks_ = 0;
    leaper_ = std::this_thread::get_id();
  }
  /// Until the thread that has made it leap has looked at it so often since.
  void await_looks(unsigned count) const noexcept {
    for (unsigned seen = looks_; seen < count; seen = looks_) looks_.wait(seen);
  }

 private:
  std::atomic<Duration::rep> leapt_{0};
  std::atomic<std::thread::id> leaper_{};
  mutable std::atomic<unsigned> looks_{0};
};

}  // namespace godwit::testing
