// How long a device is waited for before it is taken for lost, by what its answers have taken so far: a guest may be
// paused meanwhile.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/clock.h"

namespace godwit {

/// Any thread.
class AnswerTimes {
 public:
  /// Before the first answer it is `longest`.
  AnswerTimes(Duration least, Duration longest) : least_(least), longest_(longest) {}

  /// Rather the fast answers: a lane that does something else hears of one too late.
  void learn(Duration took) noexcept {
    const Duration usual = usual_.load(std::memory_order_relaxed);
    const Duration next = usual == Duration{} ? took : usual + (took - usual) / (took < usual ? 2 : 64);
    usual_.store(std::max(next, Duration(1)), std::memory_order_relaxed);
  }
  Duration patience() const noexcept {
    const Duration usual = usual_.load(std::memory_order_relaxed);
    return usual == Duration{} ? longest_ : std::min(longest_, std::max(least_, kTimesTheUsual * usual));
  }

 private:
  // What other guests on the device, or a busy host, may make of an answer.
  static constexpr int kTimesTheUsual = 64;
  Duration least_;
  Duration longest_;
  std::atomic<Duration> usual_{Duration{}};
};

}  // namespace godwit
