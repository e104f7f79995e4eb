#include "engine/push_pace.h"

#include <algorithm>
#include <numeric>

namespace godwit {

namespace {
// A frame of 64 KiB takes half a millisecond at 1 Gbit/s.
constexpr Duration kShortQueue = std::chrono::microseconds(100);
constexpr Duration kLongQueue = std::chrono::microseconds(300);
constexpr double kAtFirst = 0.95;
constexpr double kFaster = 1.02;
constexpr double kSlower = 0.95;
// A queue may be others', who are not made room for beyond this.
constexpr double kLeast = 0.5;
// Only what is kept to can be too slow.
constexpr double kKeptTo = 0.8;
// Lanes may have had no CPU for a while, or may just have begun. The best stretch of so many tells of the link.
constexpr unsigned kLooksToKnow = 25;
}  // namespace

PushPace::PushPace(double bytes_per_second) : now_(bytes_per_second * kAtFirst), least_(bytes_per_second * kLeast) {}

void PushPace::look(double bytes_per_second, Duration queueing) noexcept {
  if (now_ == 0) {
    learn(bytes_per_second);
    if (queueing > kLongQueue && looks_ >= kLooksToKnow) *this = PushPace(most_);
  } else if (queueing > kLongQueue) {
    now_ = std::max(least_, std::min(now_, bytes_per_second) * kSlower);
  } else if (queueing < kShortQueue && bytes_per_second > now_ * kKeptTo) {
    now_ *= kFaster;
  }
}

void PushPace::learn(double bytes_per_second) noexcept {
  if (bytes_per_second > 0) ++looks_;
  stretch_[place_] = bytes_per_second;
  place_ = (place_ + 1) % stretch_.size();
  // The first stretch is what sockets swallow.
  if (looks_ < 2 * stretch_.size()) return;
  const double mean = std::accumulate(stretch_.begin(), stretch_.end(), 0.0) / static_cast<double>(stretch_.size());
  most_ = std::max(most_, mean);
}

}  // namespace godwit
