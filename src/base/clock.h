// Time comes in from outside, so that tests need no sleep.
#pragma once

#include <chrono>

namespace godwit {

using Duration = std::chrono::nanoseconds;
/// Nanoseconds since an arbitrary start (CLOCK_MONOTONIC for the real clock).
using Instant = std::chrono::nanoseconds;

class Clock {
 public:
  virtual ~Clock() = default;
  /// Never runs backwards. Any thread.
  virtual Instant now() const noexcept = 0;
};

/// CLOCK_MONOTONIC.
class SteadyClock final : public Clock {
 public:
  Instant now() const noexcept override { return std::chrono::steady_clock::now().time_since_epoch(); }
};

}  // namespace godwit
