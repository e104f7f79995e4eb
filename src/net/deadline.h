// Until when a call may wait.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace godwit {

/// Valid as long as its clock.
class Deadline {
 public:
  /// The call waits for as long as it takes.
  static Deadline never() noexcept { return {nullptr, Instant::max(), Duration::max()}; }
  /// By CLOCK_MONOTONIC. Zero: the call does what can be done without waiting.
  static Deadline in(Duration time) noexcept { return {nullptr, SteadyClock().now() + time, time}; }
  /// By a clock that may be a test's. Such a clock wakes nobody, so whoever waits looks at it now and then.
  static Deadline in(Duration time, const Clock& clock) noexcept { return {&clock, clock.now() + time, time}; }

  bool is_never() const noexcept { return at_ == Instant::max(); }
  bool over() const noexcept { return !is_never() && now() >= at_; }
  /// How long to wait before asking again whether it is over; Duration::max() if it never is.
  Duration wait() const noexcept {
    if (is_never()) return Duration::max();
    const Duration left = std::max(at_ - now(), Duration::zero());
    return clock_ == nullptr ? left : std::min<Duration>(left, kLookAround);
  }
  /// All of it, for messages.
  Duration allowed() const noexcept { return allowed_; }

 private:
  static constexpr Duration kLookAround = std::chrono::milliseconds(50);
  Deadline(const Clock* clock, Instant at, Duration allowed) noexcept : clock_(clock), at_(at), allowed_(allowed) {}
  Instant now() const noexcept { return clock_ == nullptr ? SteadyClock().now() : clock_->now(); }

  const Clock* clock_;  ///< null: CLOCK_MONOTONIC, for which the kernel wakes
  Instant at_;
  Duration allowed_;
};

}  // namespace godwit
