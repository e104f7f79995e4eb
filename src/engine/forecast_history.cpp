#include "engine/forecast_history.h"

#include <algorithm>
#include <cmath>

namespace godwit {

namespace {

// What a guest did so long ago counts half. Its phases last seconds to minutes.
constexpr double kHalfOfHarvests = 8;
// A link that has become slower is believed after a second or two.
constexpr double kHalfOfRates = 1;
constexpr std::size_t kMostHarvests = 64;
constexpr std::size_t kMostRates = 32;
// Rates that are older do not widen the interval any more.
constexpr double kRatesInView = 6;
constexpr double kLeastRateDoubt = 0.05;

double history_seconds(Duration d) {
  return std::chrono::duration<double>(d).count();
}

double weight_of(Duration age, double half) {
  return std::exp2(-std::max(history_seconds(age), 0.0) / half);
}

}  // namespace

void ForecastHistory::harvested(Duration at, Duration interval, double pages) {
  if (interval <= Duration{}) return;
  harvests_.push_back({at, {interval, pages, 1}});
  if (harvests_.size() > kMostHarvests) harvests_.pop_front();
}

void ForecastHistory::sent(Duration at, Duration took, double bytes) {
  if (took <= Duration{}) return;
  sent_.push_back({at, history_seconds(took), bytes});
  if (sent_.size() > kMostRates) sent_.pop_front();
}

std::vector<WrittenPages> ForecastHistory::found(Duration now) const {
  std::vector<WrittenPages> out;
  for (const auto& h : harvests_) {
    out.push_back(h.pages);
    out.back().weight = weight_of(now - h.at, kHalfOfHarvests);
  }
  return out;
}

Estimate ForecastHistory::rate(Duration now) const {
  double bytes = 0;
  double length = 0;
  Estimate e;
  for (const auto& s : sent_) {
    const double weight = weight_of(now - s.at, kHalfOfRates);
    bytes += weight * s.bytes;
    length += weight * s.length;
  }
  if (length <= 0) return e;
  e.point = bytes / length;
  e.low = e.point / (1 + kLeastRateDoubt);
  e.high = e.point * (1 + kLeastRateDoubt);
  for (const auto& s : sent_) {
    if (history_seconds(now - s.at) > kRatesInView) continue;
    e.low = std::min(e.low, s.bytes / s.length);
    e.high = std::max(e.high, s.bytes / s.length);
  }
  return e;
}

}  // namespace godwit
