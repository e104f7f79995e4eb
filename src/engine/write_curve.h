// How many different pages a guest writes in a time t, as a curve: pages that are written again and again (hot) are
// found once however long one waits, the others (cold) more and more. A sum of sets, each with its own heat:
//
//   W(t) = sum of size * (1 - exp(-t / every))     hot: a small `every`; cold: all the rest of RAM, a large one
//
// Pure: fitted to what harvests found, no clock.
#pragma once

#include <span>
#include <vector>

#include "base/clock.h"

namespace godwit {

/// What one harvest found, or several together.
struct WrittenPages {
  Duration interval{};  ///< in which they were written
  double pages = 0;     ///< different ones
  double weight = 1;    ///< how much it counts: less, the older it is
};

/// Pages of which each is written about once every so many seconds.
struct HeatSet {
  double pages = 0;
  double every = 1;
};

/// Which sets a fit may use: of observations at one interval nobody can tell whether the pages are always the same.
enum class Heat {
  kAny,
  kHot,   ///< the same pages all the time, as far as what was found allows
  kCold,  ///< ever new pages, as far as what was found allows
};

class WriteCurve {
 public:
  WriteCurve() = default;
  explicit WriteCurve(std::vector<HeatSet> sets) : sets_(std::move(sets)) {}
  /// `most`: pages that there are. Without observations: nothing is written.
  static WriteCurve fitted(std::span<const WrittenPages> found, double most, Heat heat = Heat::kAny);

  /// Different pages written in so many seconds.
  double pages(double seconds) const noexcept;
  /// Of a guest that is as many times as fast.
  WriteCurve at_speed(double factor) const;
  /// Of a guest that writes as many times as many pages, but not more than `most`.
  WriteCurve with_more(double factor, double most) const;
  /// Of a guest that, beyond what it writes in so many seconds, writes hardly any other pages.
  WriteCurve confined(double seconds) const;
  /// Root of the mean square by which observations differ from it, as a share of each.
  double deviation(std::span<const WrittenPages> found) const noexcept;

  const std::vector<HeatSet>& sets() const noexcept { return sets_; }

 private:
  std::vector<HeatSet> sets_;
};

}  // namespace godwit
