// How many lanes there should be while memory is copied: a value without clock or I/O, told of what they do.
//
//   lanes wait for their connections --> twice as many, as a trial --faster--> they stay, and more may be tried
//                                                             \--not faster--> as many as before, and no more trials
//
// More connections help where each has a limit of its own: a window on a long path, what a cloud lets a flow have, one
// of several bonded links. Where they share one limit, or CPUs are it, more of them help nobody.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace godwit {

/// How long is measured, and what a change has to be worth. Others than these are for tests.
struct LanePace {
  Duration every = std::chrono::seconds(1);        ///< they are looked at
  Duration before = std::chrono::seconds(10);      ///< measured, before a trial
  Duration settle = std::chrono::seconds(2);       ///< new connections need to get up to speed
  Duration trial = std::chrono::seconds(8);        ///< measured after that
  Duration least_left = std::chrono::seconds(30);  ///< for less nothing is changed
  double may_cost = 0.01;                          ///< a change, of what is left
  Duration again = std::chrono::minutes(10);       ///< after a trial that failed, if the link has become another
};

/// What is known at one moment; all but `lanes`, `left` and `bound` grows.
struct LanesSeen {
  Duration elapsed{};
  unsigned lanes = 0;
  std::uint64_t bytes = 0;  ///< on the wire, all lanes
  Duration waited{};        ///< for their connections, all lanes together
  Duration left{};          ///< until all that waits now has been sent; zero: nothing waits
  double bound = 0;         ///< bytes a second that they are to keep to; 0: none
};

class LaneCount {
 public:
  LaneCount(LanePace pace, unsigned most) : pace_(pace), most_(most) {}

  /// Another number that there should be now, if there should. Then changed() or not_changed() comes first, before the
  /// next look.
  std::optional<unsigned> look(const LanesSeen& seen);
  /// There are as many now; nothing was sent for so long because of that.
  void changed(Duration took);
  /// They could not be changed, and will not be.
  void not_changed(unsigned lanes);
  /// The link was lost for a while, which says nothing about connections; what was wanted last has not been done.
  void interrupted();

 private:
  std::optional<unsigned> judge(const LanesSeen& seen, double rate, bool bounded);
  Duration least_left() const;

  LanePace pace_;
  unsigned most_;
  std::optional<LanesSeen> begun_;  ///< from here on is measured
  bool settles_ = true;             ///< from the next look on they are given time
  Duration settled_at_{};
  Duration change_takes_{};              ///< as the latest did
  bool is_wanted_ = false;               ///< a change, of which nobody has told what became of it
  std::optional<unsigned> tried_from_;   ///< under trial: as many as there were before
  double rate_before_ = 0;               ///< of a trial
  std::optional<Duration> no_trial_at_;  ///< the latest that failed ended then
};

}  // namespace godwit
