// How fast the lanes send while they have something to send, over the last seconds of being busy.
#pragma once

#include <cstdint>
#include <deque>

#include "base/clock.h"

namespace godwit {

/// Fed with growing totals; the coordinator's thread only.
class RateMeter {
 public:
  /// `busy`: time that all lanes together have been at work; `amount`: what they have done in it.
  void add(Duration busy, std::uint64_t amount) {
    // Idle lanes make no points.
    if (!points_.empty() && points_.back().busy == busy) points_.pop_back();
    points_.push_back({busy, amount});
    // One lane-second is long against socket buffers filling up, and short against a link that changes.
    while (points_.size() > 2 && points_.back().busy - points_[1].busy >= kWindow) points_.pop_front();
  }
  /// Amount per second of one lane at work; 0 while nothing is known.
  double per_busy_second() const noexcept {
    if (points_.size() < 2) return 0;
    const auto busy = points_.back().busy - points_.front().busy;
    if (busy.count() <= 0) return 0;
    return static_cast<double>(points_.back().amount - points_.front().amount) * 1e9 /
           static_cast<double>(busy.count());
  }

 private:
  static constexpr Duration kWindow = std::chrono::seconds(1);
  struct Point {
    Duration busy;
    std::uint64_t amount;
  };
  std::deque<Point> points_;
};

}  // namespace godwit
