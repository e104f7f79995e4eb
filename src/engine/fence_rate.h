// How fast the way to the receiver is, as the answers to fences tell: also where a proxy or a tunnel takes what is sent
// at once, and keeps it in a queue that no socket of this host shows.
//
//   round:  bytes ... fence --> [ queues on the way ] --> receiver: applied --> answer
//                         |<------------ took ------------------------------->|
//
// The shortest answer stands for the length of the line; what a larger round took longer than that, its bytes have lain
// somewhere. Pure: no clock, no I/O.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace godwit {

class FenceRate {
 public:
  /// `bytes` were sent since the fence before, all of them in `round`, until this one was answered, which `took` a
  /// while from when it had been sent.
  void add(std::uint64_t bytes, Duration took, Duration round) noexcept;
  /// Bytes a nanosecond that the way takes at most; 0: it is fast, or nothing can be told.
  double bytes_per_ns() const noexcept { return rate_; }

 private:
  double rate_ = 0;
  bool any_ = false;
  std::uint64_t quickest_bytes_ = 0;  ///< of the round that was answered most quickly
  Duration quickest_{};
};

}  // namespace godwit
