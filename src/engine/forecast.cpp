#include "engine/forecast.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/units.h"

namespace godwit {

namespace {

constexpr double kBytesOfPage = 4096;
// Even a guest that was steady while it was watched may do something else in a minute.
constexpr double kLeastDoubt = 0.1;
constexpr double kMostDoubt = 3;
// A curve with other heats is believed where it explains what was found nearly as well.
constexpr double kAsGood = 1.5;
constexpr double kGoodEnough = 0.1;
// The autopilot's tick, fences, the commit: what nobody models.
constexpr double kUnmodelled = 0.05;
constexpr double kUnmodelledSeconds = 0.1;
constexpr int kSearchSteps = 14;
constexpr double kLargest = 9e17;

Duration bounded(double length) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::clamp(length, 0.0, 9e9)));
}

double plain_seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}

enum class Luck { kBest, kLikely, kWorst };

/// Where more is worse.
double pick(const Estimate& e, Luck luck) {
  return luck == Luck::kBest ? e.low : luck == Luck::kWorst ? e.high : e.point;
}

/// Where less is worse.
double pick_rate(const Estimate& e, Luck luck) {
  return luck == Luck::kBest ? e.high : luck == Luck::kWorst ? e.low : e.point;
}

MoveModel model_of(const ForecastInput& in, WriteCurve writes, Luck luck) {
  return {.writes = std::move(writes),
          .ram_pages = in.ram_pages,
          .data_pages = in.data_pages,
          .first_left = in.first_left,
          .waiting_again = in.waiting_again,
          .first_page_bytes = pick(in.first_page_bytes, luck),
          .again_page_bytes = pick(in.again_page_bytes, luck),
          .first_page_seconds = pick(in.first_page_seconds, luck),
          .again_page_seconds = pick(in.again_page_seconds, luck),
          .bytes_per_second = pick_rate(in.bytes_per_second, luck),
          .scan = in.scan,
          .rechecks = in.rechecks,
          .device_pause = bounded(pick(in.device_pause_seconds, luck)),
          .device_bytes = in.device_bytes,
          .setup = bounded(pick(in.setup_seconds, luck)),
          .handover = bounded(pick(in.handover_seconds, luck)),
          .since_harvest = in.since_harvest,
          .harvests = in.harvests,
          .elapsed = in.elapsed,
          .share = in.share};
}

/// How the guest may write, as far as it was watched: the likely way first.
struct Guesses {
  std::vector<WriteCurve> curves;
  double doubt = kLeastDoubt;
};

Guesses guess_writes(const ForecastInput& in) {
  Guesses g;
  const double most = std::max(in.data_pages, 1.0);
  g.curves.push_back(WriteCurve::fitted(in.found, most));
  const double off = g.curves.front().deviation(in.found);
  g.doubt = std::clamp(2 * off, kLeastDoubt, kMostDoubt);
  for (const Heat heat : {Heat::kHot, Heat::kCold}) {
    auto other = WriteCurve::fitted(in.found, most, heat);
    if (other.deviation(in.found) <= std::max(kAsGood * off, kGoodEnough)) g.curves.push_back(std::move(other));
  }
  Duration longest{};
  for (const auto& found : in.found) longest = std::max(longest, found.interval);
  g.curves.push_back(g.curves.front().confined(plain_seconds(longest)));
  return g;
}

/// The least x in [low, high], on a scale of factors, for which it is so; nothing if not even for `high`.
std::optional<double> least_that(double low, double high, const std::function<bool(double)>& is_so) {
  if (!is_so(high)) return std::nullopt;
  for (int i = 0; i < kSearchSteps; ++i) {
    const double middle = std::sqrt(low * high);
    (is_so(middle) ? high : low) = middle;
  }
  return high;
}

TimeEstimate shifted(const TimeEstimate& t, Duration by) {
  return {t.low + by, t.point + by, t.high == Duration::max() ? t.high : t.high + by};
}

std::string rate_text(double bytes_per_second) {
  return format_size(static_cast<std::uint64_t>(std::clamp(bytes_per_second, 0.0, kLargest))) + "/s";
}

/// To a figure that one would type, not below it.
Duration rounded_up(Duration d) {
  const double length = std::max(plain_seconds(d), 1e-3);
  const double unit = std::pow(10, std::floor(std::log10(length)) - 1);
  return bounded(std::ceil(length / unit - 1e-9) * unit);
}

}  // namespace

Estimate Estimate::about(double value, double share) noexcept {
  return {value / (1 + share), value, value * (1 + share)};
}

std::string_view name_of(Prospect prospect) noexcept {
  switch (prospect) {
    case Prospect::kConverges:
      return "converges";
    case Prospect::kLikely:
      return "likely";
    case Prospect::kTooLong:
      return "too-long";
    case Prospect::kNever:
      return "never";
  }
  return "unknown";
}

std::string_view name_of(LimitedBy limit) noexcept {
  switch (limit) {
    case LimitedBy::kNothing:
      return "nothing";
    case LimitedBy::kLink:
      return "link";
    case LimitedBy::kEncoding:
      return "encoding";
    case LimitedBy::kGuestWrites:
      return "guest-writes";
    case LimitedBy::kLooks:
      return "looks";
  }
  return "unknown";
}

Forecast make_forecast(const ForecastInput& in, const Goals& goals) {
  const Guesses guesses = guess_writes(in);
  const double most = std::max(in.data_pages, 1.0);
  const MoveCourse likely = simulate_move(model_of(in, guesses.curves.front(), Luck::kLikely), goals);
  Forecast f;
  f.left = {likely.total, likely.total, likely.total};
  f.pause = {likely.pause, likely.pause, likely.pause};
  f.bytes = Estimate::exactly(likely.bytes);
  bool always = likely.switched;
  for (const auto& curve : guesses.curves) {
    for (const Luck luck : {Luck::kBest, Luck::kWorst}) {
      const double factor = luck == Luck::kBest ? 1 / (1 + guesses.doubt) : 1 + guesses.doubt;
      const MoveCourse course = simulate_move(model_of(in, curve.with_more(factor, most), luck), goals);
      f.pause.low = std::min(f.pause.low, course.pause);
      f.pause.high = std::max(f.pause.high, course.pause);
      if (course.switched) {
        f.left.low = std::min(f.left.low, course.total);
        f.left.high = std::max(f.left.high, course.total);
        f.bytes.low = std::min(f.bytes.low, course.bytes);
      }
      f.bytes.high = std::max(f.bytes.high, course.bytes);
      always &= course.switched;
    }
  }
  const double least = plain_seconds(f.left.low) * (1 - kUnmodelled);
  f.left.low = bounded(std::max(least - kUnmodelledSeconds, least / 2));
  f.left.high = always ? bounded(plain_seconds(f.left.high) * (1 + kUnmodelled) + kUnmodelledSeconds) : Duration::max();
  f.total = shifted(f.left, in.elapsed);
  f.bytes = {f.bytes.low * (1 - kUnmodelled) + in.bytes_so_far, f.bytes.point + in.bytes_so_far,
             f.bytes.high * (1 + kUnmodelled) + in.bytes_so_far};
  f.first_pass = likely.first_pass;
  f.written_bytes_per_second = guesses.curves.front().pages(1) * kBytesOfPage;
  if (!likely.switched) {
    f.prospect = Prospect::kNever;
    f.limit = in.scan + in.rechecks > goals.max_downtime ? LimitedBy::kLooks : LimitedBy::kGuestWrites;
    f.left.point = f.total.point = Duration::max();
    return f;
  }
  const bool in_time = f.total.point <= goals.bound();
  f.prospect = !in_time                                  ? Prospect::kTooLong
               : always && f.total.high <= goals.bound() ? Prospect::kConverges
                                                         : Prospect::kLikely;
  const bool copies_once = 2 * likely.first_pass > likely.total - bounded(in.setup_seconds.point);
  f.limit = !copies_once && in.first_left > 0 ? LimitedBy::kGuestWrites
            : likely.by_link                  ? LimitedBy::kLink
                                              : LimitedBy::kEncoding;
  return f;
}

WhatWouldHelp what_would_help(const ForecastInput& in, const Goals& goals, const Forecast& forecast) {
  WhatWouldHelp help;
  if (converges(forecast.prospect)) return help;
  const WriteCurve writes = WriteCurve::fitted(in.found, std::max(in.data_pages, 1.0));
  const auto ends = [&](const MoveModel& model, const Goals& with) {
    const auto course = simulate_move(model, with);
    return course.switched && in.elapsed + course.total <= with.bound();
  };
  const MoveModel now = model_of(in, writes, Luck::kLikely);
  if (now.bytes_per_second > 0) {
    help.bytes_per_second = least_that(now.bytes_per_second, now.bytes_per_second * 1000, [&](double rate) {
      MoveModel faster = now;
      faster.bytes_per_second = rate;
      return ends(faster, goals);
    });
  }
  if (forecast.prospect == Prospect::kTooLong) help.bound = rounded_up(forecast.total.point + forecast.total.point / 4);
  const double bound = plain_seconds(goals.max_downtime);
  const auto downtime = least_that(bound, std::max(600.0, 2 * bound), [&](double length) {
    Goals wider = goals;
    wider.max_downtime = bounded(length);
    return ends(now, wider);
  });
  if (downtime) help.max_downtime = rounded_up(bounded(*downtime));
  const auto slower = least_that(1, 100, [&](double factor) {
    MoveModel slow = now;
    slow.writes = writes.at_speed(1 / factor);
    return ends(slow, goals);
  });
  if (slower) help.guest_speed = 1 / *slower;
  return help;
}

std::string explain(const Forecast& f, const WhatWouldHelp& help, const Goals& goals) {
  if (converges(f.prospect)) return "";
  const std::string_view bound = goals.deadline_is_bound() ? "--deadline" : "--timeout";
  std::string text;
  if (f.prospect == Prospect::kTooLong) {
    text = fmt::format("at this rate it needs {}, and {} is {}", format_duration(f.total.point), bound,
                       format_duration(goals.bound()));
  } else if (f.limit == LimitedBy::kLooks) {
    text = fmt::format("the last look at which pages were written takes longer than --max-downtime {}",
                       format_duration(goals.max_downtime));
  } else {
    text = fmt::format(
        "at this rate it does not converge: the guest writes {} of different pages, and its pause would "
        "be {} at least, where --max-downtime is {}",
        rate_text(f.written_bytes_per_second), format_duration(f.pause.point), format_duration(goals.max_downtime));
  }
  std::vector<std::string> ways;
  if (help.bytes_per_second) ways.push_back(fmt::format("a link of {}", format_bit_rate(*help.bytes_per_second * 8)));
  if (help.max_downtime) ways.push_back(fmt::format("--max-downtime {}", format_duration(*help.max_downtime)));
  if (help.bound) ways.push_back(fmt::format("{} {}", bound, format_duration(*help.bound)));
  if (help.guest_speed) ways.push_back(fmt::format("a guest slowed to {:.0f} %", std::floor(*help.guest_speed * 100)));
  if (ways.empty()) return text;
  return fmt::format("{}; what would help: {}", text, fmt::join(ways, ", or "));
}

}  // namespace godwit
