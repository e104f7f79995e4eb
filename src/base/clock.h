// Time comes in from outside, so that tests need no sleep.
#pragma once

#include <chrono>
#include <type_traits>

namespace godwit {

using Duration = std::chrono::nanoseconds;
/// A point in time, counted from an arbitrary start (CLOCK_MONOTONIC for the real clock). Instant{}: never.
using Instant = std::chrono::steady_clock::time_point;
static_assert(std::is_same_v<Instant::duration, Duration>);

class Clock {
 public:
  virtual ~Clock() = default;
  /// Never runs backwards. Any thread.
  virtual Instant now() const noexcept = 0;
};

/// CLOCK_MONOTONIC.
class SteadyClock final : public Clock {
 public:
  Instant now() const noexcept override { return std::chrono::steady_clock::now(); }
};

}  // namespace godwit
