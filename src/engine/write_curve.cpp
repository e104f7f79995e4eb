#include "engine/write_curve.h"

#include <algorithm>
#include <cmath>

namespace godwit {

namespace {

// Sets' heats, as multiples of the interval that observations are typically made at. Equal parts of all of them grow
// like the square root of time, which is between "the same set every time" and "always new pages".
constexpr double kHeats[] = {0.03, 0.1, 0.3, 1, 3, 10, 1000};
// What is found of a few pages varies by as many.
constexpr double kFewestPages = 16;
// Pulls towards equal parts, far more weakly than an observation does.
constexpr double kEvenness = 0.003;
constexpr double kSilence = 0.5;
// How much more than what was found there may at least be.
constexpr double kConfined = 1.5;
constexpr int kFitSteps = 400;

double curve_seconds(Duration d) {
  return std::max(std::chrono::duration<double>(d).count(), 1e-6);
}

/// Of the intervals, the mean of logarithms.
double typical_interval(std::span<const WrittenPages> found) {
  double sum = 0;
  double weight = 0;
  for (const auto& f : found) {
    sum += f.weight * std::log(curve_seconds(f.interval));
    weight += f.weight;
  }
  return weight > 0 ? std::exp(sum / weight) : 1;
}

double share_written(double length, double every) {
  return -std::expm1(-length / every);
}

std::vector<double> heats_for(double typical, Heat heat) {
  std::vector<double> every;
  for (const double h : kHeats) {
    if (heat == Heat::kHot && h > 1) continue;
    if (heat == Heat::kCold && h < 1) continue;
    every.push_back(h * typical);
  }
  return every;
}

/// Least squares without negative parts, by the normal equations, one part after the other. Parts are what is found of
/// a set in a typical interval.
std::vector<double> fit_parts(std::span<const WrittenPages> found, const std::vector<double>& every, double typical) {
  const std::size_t count = every.size();
  double level = 0;
  double all = 0;
  for (const auto& f : found) {
    level += f.weight * f.pages;
    all += f.weight;
  }
  const double even = level / all / static_cast<double>(count);
  const double unit = std::max(level / all, kFewestPages);
  std::vector<double> products(count * count);
  std::vector<double> wanted(count);
  std::vector<double> share(count);
  for (const auto& f : found) {
    for (std::size_t k = 0; k < count; ++k) {
      share[k] = share_written(curve_seconds(f.interval), every[k]) / share_written(typical, every[k]);
    }
    // Relative to what was found, or large numbers alone would count; but a moment of silence says no more than others.
    const double scale = std::max(f.pages, unit * kSilence);
    const double w = f.weight / all / (scale * scale);
    for (std::size_t k = 0; k < count; ++k) {
      wanted[k] += w * f.pages * share[k];
      for (std::size_t j = 0; j < count; ++j) products[k * count + j] += w * share[k] * share[j];
    }
  }
  for (std::size_t k = 0; k < count; ++k) {
    wanted[k] += kEvenness / (unit * unit) * even;
    products[k * count + k] += kEvenness / (unit * unit);
  }
  std::vector<double> parts(count, even);
  for (int step = 0; step < kFitSteps; ++step) {
    for (std::size_t k = 0; k < count; ++k) {
      double rest = wanted[k];
      for (std::size_t j = 0; j < count; ++j) rest -= products[k * count + j] * parts[j];
      parts[k] = std::max(0.0, parts[k] + rest / products[k * count + k]);
    }
  }
  return parts;
}

}  // namespace

WriteCurve WriteCurve::fitted(std::span<const WrittenPages> found, double most, Heat heat) {
  double any = 0;
  for (const auto& f : found) any += f.weight * f.pages;
  if (any <= 0 || most <= 0) return {};
  const double typical = typical_interval(found);
  const auto every = heats_for(typical, heat);
  const auto parts = fit_parts(found, every, typical);
  WriteCurve curve;
  double left = most;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    if (parts[k] <= 0) continue;
    const double pages = parts[k] / share_written(typical, every[k]);
    const double in_second = pages / every[k];
    // A set that is larger than what is left is all of that, each page of it written more often.
    const double size = std::min(pages, std::max(left, 1.0));
    curve.sets_.push_back({size, size / in_second});
    left -= size;
  }
  return curve;
}

double WriteCurve::pages(double length) const noexcept {
  double sum = 0;
  for (const auto& set : sets_) sum += set.pages * share_written(length, set.every);
  return sum;
}

WriteCurve WriteCurve::at_speed(double factor) const {
  WriteCurve curve = *this;
  for (auto& set : curve.sets_) set.every /= std::max(factor, 1e-9);
  return curve;
}

WriteCurve WriteCurve::with_more(double factor, double most) const {
  WriteCurve curve = *this;
  double left = most;
  for (auto& set : curve.sets_) {
    const double in_second = set.pages * factor / set.every;
    set.pages = std::min(set.pages * factor, std::max(left, 1.0));
    set.every = set.pages / in_second;
    left -= set.pages;
  }
  return curve;
}

WriteCurve WriteCurve::confined(double length) const {
  WriteCurve curve;
  double in_second = 0;
  double pages = 0;
  for (const auto& set : sets_) {
    if (set.every <= length) {
      curve.sets_.push_back(set);
      continue;
    }
    in_second += set.pages / set.every;
    pages += set.pages * share_written(length, set.every);
  }
  if (in_second > 0) curve.sets_.push_back({kConfined * pages, kConfined * pages / in_second});
  return curve;
}

double WriteCurve::deviation(std::span<const WrittenPages> found) const noexcept {
  double sum = 0;
  double weight = 0;
  for (const auto& f : found) {
    const double expected = pages(curve_seconds(f.interval));
    const double off = (f.pages - expected) / std::max({f.pages, expected, kFewestPages});
    sum += f.weight * off * off;
    weight += f.weight;
  }
  return weight > 0 ? std::sqrt(sum / weight) : 0;
}

}  // namespace godwit
