// How fast post-copy pushes what nobody has asked for: just below what the link carries, so that a page that the guest
// waits for finds hardly anything before it on the way. A pure function: no clock, no I/O.
//
//   queue on the way:   short            longer           long
//                       a little faster  as before        slower than what got through
#pragma once

#include <array>
#include <cstddef>

#include "base/clock.h"

namespace godwit {

class PushPace {
 public:
  /// What lanes managed before; 0: not known, then no pace is set before a queue shows, and lanes have sent for half a
  /// second as fast as goes.
  explicit PushPace(double bytes_per_second);

  /// Fifty times a second. What got through since the last look, and how much longer than the shortest one round trips
  /// take.
  void look(double bytes_per_second, Duration queueing) noexcept;
  /// Bytes per second; 0: as fast as goes.
  double now() const noexcept { return now_; }

 private:
  void learn(double bytes_per_second) noexcept;

  double now_;
  double least_;
  // Of an unknown link. What a single look sees may be what sockets swallow, and no link carries.
  std::array<double, 10> stretch_{};  ///< that got through between the latest looks
  std::size_t place_ = 0;
  double most_ = 0;     ///< in the best stretch
  unsigned looks_ = 0;  ///< at which something had got through
};

}  // namespace godwit
