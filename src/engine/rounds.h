// How the copying of RAM has gone so far, round by round: what the coordinator has seen, as a value.
#pragma once

#include <cstdint>
#include <utility>

#include "base/clock.h"
#include "engine/autopilot.h"
#include "engine/least_of_latest.h"
#include "engine/source_lanes.h"
#include "tracking/dirty_tracker.h"

namespace godwit {

struct Rounds {
  Round now;
  std::uint64_t harvests = 0;
  HarvestStats last;                ///< of the last harvest, like the next
  LeastOfLatest<Duration, 4> scan;  ///< what looking for written pages took
  Instant harvested_at{};
  Duration interval{};             ///< that it covered
  std::uint64_t pages_before = 0;  ///< of the harvest before it
  Duration interval_before{};      ///< and what that one covered
  LaneTotals begun_with;           ///< when it was begun
  double rate = 0;                 ///< bytes a second from it until the sink had applied it; 0: too short to tell
  bool applied = false;            ///< the sink has applied all that was ever posted
  bool first_pass_over = false;    ///< no page waits that was not sent before

  void harvested(const HarvestStats& stats, Instant at) noexcept {
    pages_before = std::exchange(last, stats).pages;
    scan.add(stats.took);
    interval_before = std::exchange(interval, at - harvested_at);
    harvested_at = at;
    ++harvests;
  }
  /// `waiting` pages are left; the sink's latest answer came at `answered_at`, and until now `sent` bytes went out.
  void look(bool all_applied, std::uint64_t waiting, Instant answered_at, std::uint64_t sent) noexcept {
    const bool just_applied = all_applied && !applied;
    applied = all_applied;
    first_pass_over |= applied || (harvests > 1 && waiting <= last.pages);
    if (!just_applied || harvests == 0) return;
    // What the lanes have got rid of may lie in the kernel still: only the sink's answer tells what the link takes.
    const auto took = answered_at - harvested_at;
    rate = took < kWorthTiming
               ? 0
               : static_cast<double>(sent - begun_with.bytes_wire) / std::chrono::duration<double>(took).count();
  }

 private:
  // A shorter round says more about this thread's ticks than about the link.
  static constexpr Duration kWorthTiming = std::chrono::milliseconds(20);
};

}  // namespace godwit
