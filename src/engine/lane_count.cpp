#include "engine/lane_count.h"

#include <algorithm>
#include <utility>

namespace godwit {

namespace {
// Of their time. Where a link is slow the governor has lanes encode more, until little is left of the wait; lanes that
// wait for less are nearly as much held up by encoding.
constexpr double kWaitsForLink = 1.0 / 3;
// A link's rate varies by itself: less than this is not taken for a gain.
constexpr double kGain = 1.15;
// A rate that differs by this factor is another link's.
constexpr double kAnotherLink = 2;
// Lanes that have come so near to --bandwidth are held by it.
constexpr double kNearBound = 0.8;

double seconds_of(Duration time) {
  return std::chrono::duration<double>(time).count();
}
}  // namespace

Duration LaneCount::least_left() const {
  const double worth_it = seconds_of(change_takes_) / pace_.may_cost;
  return std::max(pace_.least_left, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(worth_it)));
}

std::optional<unsigned> LaneCount::look(const LanesSeen& seen) {
  if (settles_) settled_at_ = seen.elapsed + pace_.settle;
  settles_ = false;
  // Lanes without anything to send show nothing.
  if (!begun_ || seen.elapsed < settled_at_ || seen.left <= Duration::zero()) {
    begun_ = seen;
    return std::nullopt;
  }
  const Duration took = seen.elapsed - begun_->elapsed;
  if (took < (tried_from_ ? pace_.trial : pace_.before)) return std::nullopt;
  const double rate = static_cast<double>(seen.bytes - begun_->bytes) / seconds_of(took);
  const double waited = seconds_of(seen.waited - begun_->waited) / (seconds_of(took) * seen.lanes);
  const bool bounded = seen.bound > 0 && rate >= kNearBound * seen.bound;
  begun_ = seen;
  if (tried_from_) return judge(seen, rate, bounded);
  if (seen.lanes >= most_ || bounded || waited < kWaitsForLink || seen.left < least_left()) return std::nullopt;
  if (no_trial_at_) {
    const bool another = rate > kAnotherLink * rate_before_ || rate * kAnotherLink < rate_before_;
    if (!another || seen.elapsed - *no_trial_at_ < pace_.again) return std::nullopt;
  }
  tried_from_ = seen.lanes;
  rate_before_ = rate;
  is_wanted_ = true;
  return std::min(2 * seen.lanes, most_);
}

std::optional<unsigned> LaneCount::judge(const LanesSeen& seen, double rate, bool bounded) {
  const unsigned before = *tried_from_;
  tried_from_.reset();
  if (rate >= kGain * rate_before_) {
    no_trial_at_.reset();
    return std::nullopt;
  }
  no_trial_at_ = seen.elapsed;
  // An operator's bound that has come meanwhile says nothing; and for little that is left nothing is changed.
  if (bounded || seen.left < least_left()) return std::nullopt;
  is_wanted_ = true;
  return before;
}

void LaneCount::changed(Duration took) {
  is_wanted_ = false;
  change_takes_ = took;
  settles_ = true;
  begun_.reset();
}

void LaneCount::not_changed(unsigned lanes) {
  most_ = lanes;
  is_wanted_ = false;
  tried_from_.reset();
  begun_.reset();
}

void LaneCount::interrupted() {
  if (std::exchange(is_wanted_, false)) tried_from_.reset();
  begun_.reset();
}

}  // namespace godwit
