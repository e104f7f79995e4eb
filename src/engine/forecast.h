// The forecast: will this move come to an end, when, with which pause and how many bytes; each with an interval, and
// what would change the answer. A pure function of what was measured: no clock, no I/O.
//
//   harvests --> WriteCurve --+
//   content, link, encoders --+--> MoveModel: likely, best, worst --> simulate_move() --> Forecast
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/goals.h"
#include "engine/move_course.h"

namespace godwit {

/// A number that is known roughly. low <= point <= high.
struct Estimate {
  double low = 0;
  double point = 0;
  double high = 0;
  static Estimate exactly(double value) noexcept { return {value, value, value}; }
  /// `share` more or less.
  static Estimate about(double value, double share) noexcept;
};

/// A time of which the upper bound may be missing: it may never end.
struct TimeEstimate {
  Duration low{};
  Duration point{};
  Duration high{};  ///< Duration::max(): no end in sight
};

/// What was measured. Bytes are those on the wire.
struct ForecastInput {
  std::vector<WrittenPages> found;  ///< by harvests; empty: nothing is known of what the guest writes
  double ram_pages = 0;
  double data_pages = 0;
  double first_left = 0;     ///< of data_pages, not sent yet
  double waiting_again = 0;  ///< posted again and not sent yet
  Estimate first_page_bytes;
  Estimate again_page_bytes;
  Estimate first_page_seconds;  ///< as in MoveModel
  Estimate again_page_seconds;
  Estimate bytes_per_second;  ///< of the link
  Duration scan{};
  Duration rechecks{};
  Estimate device_pause_seconds{0.0035, 0.010, 0.030};  ///< what this VM's devices took the last time, if that is known
  std::uint64_t device_bytes = 0;
  Estimate setup_seconds;  ///< 0: is over
  Estimate handover_seconds;
  Duration elapsed{};  ///< since the move began
  double share = 1;    ///< as in MoveModel
  double bytes_so_far = 0;
  Duration since_harvest{};
  std::uint64_t harvests = 0;
};

enum class Prospect {
  kConverges,  ///< within its bounds, also if it is worse than it looks
  kLikely,     ///< if all is as it looks, but not with some bad luck
  kTooLong,    ///< it would end, but after --timeout, or after a --deadline at which it is cancelled
  kNever,      ///< the guest writes so much that the pause stays above --max-downtime
};
std::string_view name_of(Prospect prospect) noexcept;  ///< "converges", "likely", "too-long", "never"
constexpr bool converges(Prospect prospect) noexcept {
  return prospect == Prospect::kConverges || prospect == Prospect::kLikely;
}

/// What the move waits for most of the time, or what keeps it from ending.
enum class LimitedBy { kNothing, kLink, kEncoding, kGuestWrites, kLooks };
std::string_view name_of(LimitedBy limit) noexcept;  ///< "nothing", "link", "encoding", "guest-writes", "looks"

/// Each by itself would make it converge; absent: it would not, or it is not needed.
struct WhatWouldHelp {
  std::optional<double> bytes_per_second;  ///< a link that takes so much
  std::optional<Duration> max_downtime;
  std::optional<Duration> bound;      ///< --timeout, or --deadline where that is what cancels it
  std::optional<double> guest_speed;  ///< the guest slowed down to this share
};

struct Forecast {
  Prospect prospect = Prospect::kConverges;
  LimitedBy limit = LimitedBy::kNothing;
  TimeEstimate total;                   ///< from the beginning of the move
  TimeEstimate left;                    ///< from now on
  TimeEstimate pause;                   ///< if it never converges: the shortest that would be possible
  Estimate bytes;                       ///< on the wire, in all
  Duration first_pass{};                ///< from now on, until all memory has been copied once
  double written_bytes_per_second = 0;  ///< by the guest, of different pages
};

/// Deterministic. Costs some milliseconds.
Forecast make_forecast(const ForecastInput& input, const Goals& goals);
/// Costs some dozen forecasts.
WhatWouldHelp what_would_help(const ForecastInput& input, const Goals& goals, const Forecast& forecast);

/// A sentence for the operator that says why it will not fit and what would help; empty where it converges.
std::string explain(const Forecast& forecast, const WhatWouldHelp& help, const Goals& goals);

}  // namespace godwit
