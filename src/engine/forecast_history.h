// What a forecast is made of, collected while a move (or a look at a VM) goes on: harvests, the link's rate, bytes a
// page; the older, the less it counts. No clock: whoever adds says when it was.
#pragma once

#include <deque>

#include "engine/forecast.h"

namespace godwit {

class ForecastHistory {
 public:
  /// A harvest that covered `interval` and found so many pages written.
  void harvested(Duration at, Duration interval, double pages);
  /// Bytes that the link took in a stretch of time in which there was always something to send.
  void sent(Duration at, Duration took, double bytes);

  /// Weighted by age as of `now`.
  std::vector<WrittenPages> found(Duration now) const;
  /// Bytes a second; the interval holds what was seen lately. All 0 where nothing was.
  Estimate rate(Duration now) const;
  std::size_t harvests() const noexcept { return harvests_.size(); }

 private:
  struct Harvested {
    Duration at{};
    WrittenPages pages;
  };
  struct Sent {
    Duration at{};
    double length = 0;  ///< in seconds
    double bytes = 0;
  };
  std::deque<Harvested> harvests_;
  std::deque<Sent> sent_;
};

}  // namespace godwit
