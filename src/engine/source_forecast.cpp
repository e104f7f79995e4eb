#include "engine/source_forecast.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace godwit {

namespace {

constexpr Duration kForecastEvery = std::chrono::seconds(1);
constexpr Duration kRateOver = std::chrono::milliseconds(500);
// One that differs may be a moment's; so many in a row are not.
constexpr int kSureAfter = 3;
// A longer time is said again when it has become so many times as long, or as short.
constexpr int kSaidAgain = 2;
// Pages before bytes a page mean something.
constexpr double kEnoughPages = 256;
// Of pages written again some bytes change: unknown before any has been sent again.
constexpr Estimate kUnseenChanges{0.1, 0.6, 1.0};
constexpr Estimate kStopSeconds{0.002, 0.01, 0.05};
constexpr double kContentDoubt = 0.1;

}  // namespace

void SourceForecast::look_at_rate(const Sample& s, const CopyFacts& facts) {
  const bool busy = facts.waiting > 0;
  if (!rate_since_ || !busy) {
    rate_since_ = s.elapsed;
    rate_bytes_ = facts.bytes_sent;
    return;
  }
  const Duration took = s.elapsed - *rate_since_;
  if (took < kRateOver) return;
  if (facts.bytes_sent > rate_bytes_) history_.sent(s.elapsed, took, facts.bytes_sent - rate_bytes_);
  rate_since_ = s.elapsed;
  rate_bytes_ = facts.bytes_sent;
}

ForecastInput SourceForecast::input(const Sample& s, const CopyFacts& facts) const {
  ForecastInput in;
  in.found = history_.found(s.elapsed);
  in.ram_pages = static_cast<double>(s.ram_pages);
  in.data_pages = facts.data_pages;
  in.first_left = s.first_pass_over ? 0 : std::min(facts.first_left, facts.waiting);
  in.waiting_again = facts.waiting - in.first_left;
  const double mean = facts.bytes_sent / facts.pages_sent;
  in.first_page_bytes = Estimate::about(mean, kContentDoubt);
  in.again_page_bytes =
      s.first_pass_over ? Estimate::about(s.wire_bytes_per_page, 2 * kContentDoubt)
                        : Estimate{mean * kUnseenChanges.low, mean * kUnseenChanges.point, mean * kUnseenChanges.high};
  in.bytes_per_second = history_.rate(s.elapsed);
  // Where rounds have been too short to tell a rate from bytes in flight, the meters know.
  if (in.bytes_per_second.point <= 0) in.bytes_per_second = Estimate::about(s.wire_bytes_per_second, 0.2);
  in.scan = s.scan;
  in.rechecks = s.rechecks;
  in.device_bytes = s.device_bytes;
  const double pass = std::chrono::duration<double>(facts.handover).count();
  in.handover_seconds = {kStopSeconds.low, kStopSeconds.point + pass, kStopSeconds.high + 2 * pass};
  in.elapsed = s.elapsed;
  in.share = s.share;
  in.bytes_so_far = facts.bytes_sent;
  in.since_harvest = s.since_harvest;
  in.harvests = s.harvests;
  return in;
}

void SourceForecast::look(const Sample& s, const CopyFacts& facts) {
  if (s.harvests > harvests_) {
    history_.harvested(s.elapsed - s.since_harvest, s.last_interval, static_cast<double>(s.last_harvest));
    harvests_ = s.harvests;
  }
  look_at_rate(s, facts);
  const bool due = !made_at_ || s.elapsed - *made_at_ >= kForecastEvery;
  const bool knows = history_.harvests() >= 2 && facts.pages_sent >= kEnoughPages && s.wire_bytes_per_second > 0;
  if (!due || !knows) return;
  made_at_ = s.elapsed;
  const ForecastInput in = input(s, facts);
  latest_ = make_forecast(in, goals_);
  tell_changes(in);
}

void SourceForecast::tell_changes(const ForecastInput& in) {
  const Forecast& f = *latest_;
  const bool trouble = !converges(f.prospect);
  const bool much_longer = trouble && said_trouble_ && f.prospect == Prospect::kTooLong &&
                           said_total_ != Duration::max() &&
                           (f.total.point > said_total_ * kSaidAgain || f.total.point * kSaidAgain < said_total_);
  if (trouble == said_trouble_ && !much_longer) {
    unlike_ = 0;
    return;
  }
  if (++unlike_ < kSureAfter) return;
  unlike_ = 0;
  said_trouble_ = trouble;
  said_total_ = f.total.point;
  note_ = trouble ? explain(f, what_would_help(in, goals_, f), goals_)
                  : fmt::format("as it looks now, it fits: {} to go", format_duration(f.left.point));
}

std::optional<Duration> SourceForecast::time_left(Duration elapsed) const {
  if (!latest_ || latest_->left.point == Duration::max()) return std::nullopt;
  return std::max(latest_->left.point - (elapsed - *made_at_), Duration{});
}

std::optional<std::string> SourceForecast::take_note() {
  return std::exchange(note_, std::nullopt);
}

}  // namespace godwit
