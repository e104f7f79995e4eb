#include "app/progress_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "app/forecast_json.h"
#include "base/units.h"

namespace godwit {

namespace {

constexpr double kPageBytes = 4096;

// A bar shorter than this says less than the percentage beside it; a longer one pulls the line apart.
constexpr std::size_t kShortestBar = 8;
constexpr std::size_t kLongestBar = 30;

/// A piece of the line. Those of the lowest rank go first when the line is too long.
struct Segment {
  std::string text;
  int rank = 0;
};

double clamped(double fraction) noexcept {
  return std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
}

/// Whole percent, rounded down: 100 % is said of what is done only.
int percent(const Progress& progress) noexcept {
  const int value = static_cast<int>(clamped(progress.fraction) * 100);
  return progress.phase == Phase::kDone ? 100 : std::min(value, 99);
}

std::string byte_rate(double bytes_per_second) {
  const bool known = std::isfinite(bytes_per_second) && bytes_per_second >= 0 && bytes_per_second < 1e18;
  return known ? format_size(static_cast<std::uint64_t>(bytes_per_second)) + "/s" : "unknown";
}

bool knows_numbers(const Progress& progress) noexcept {
  return progress.ram_bytes > 0;
}

/// In their order in the line.
std::vector<Segment> segments(const Progress& progress) {
  std::vector<Segment> out;
  out.push_back({std::string(name_of(progress.phase)), 9});
  if (!knows_numbers(progress)) {
    out.push_back({format_duration(progress.elapsed), 1});
    return out;
  }
  out.push_back({fmt::format("{:3}%", percent(progress)), 8});
  if (progress.phase == Phase::kDone) {
    out.push_back(
        {fmt::format("sent {} in {}", format_size(progress.bytes_sent), format_duration(progress.elapsed)), 7});
    return out;
  }
  out.push_back({format_size(progress.bytes_left) + " left", 7});
  out.push_back({fmt::format("({} pages)", progress.pages_left), 2});
  out.push_back({"out " + format_bit_rate(progress.send_bits_per_second), 5});
  out.push_back({"dirty " + byte_rate(progress.dirty_pages_per_second * kPageBytes), 4});
  // Before the first page only headers have been sent: that does not make a ratio yet.
  const bool has_ratio = std::isfinite(progress.compression) && progress.compression >= 0.05;
  if (has_ratio) out.push_back({fmt::format("{:.1f}x", progress.compression), 1});
  if (progress.predicted_pause) out.push_back({"pause ~" + format_duration(*progress.predicted_pause), 3});
  if (!progress.trouble.empty()) {
    out.push_back({progress.phase == Phase::kPaused ? "waits for the disks" : "does not converge", 6});
  }
  if (progress.time_left) out.push_back({format_duration(*progress.time_left) + " to go", 6});
  return out;
}

std::string joined(const std::vector<Segment>& parts) {
  std::string line;
  for (const Segment& part : parts) line += (line.empty() ? "" : "  ") + part.text;
  return line;
}

}  // namespace

std::string progress_bar(const Progress& progress, unsigned width) {
  std::vector<Segment> parts = segments(progress);
  std::string line = joined(parts);
  while (line.size() > width && parts.size() > 1) {
    parts.erase(std::min_element(parts.begin(), parts.end(),
                                 [](const Segment& a, const Segment& b) { return a.rank < b.rank; }));
    line = joined(parts);
  }
  if (line.size() > width) return line.substr(0, width);
  // Two spaces and two brackets; the bar comes after the percentage.
  const std::size_t room = width - line.size();
  if (!knows_numbers(progress) || parts.size() < 2 || room < kShortestBar + 4) return line;
  const std::size_t length = std::min(room - 4, kLongestBar);
  const auto filled = static_cast<std::size_t>(percent(progress)) * length / 100;
  const std::string bar = "[" + std::string(filled, '=') + std::string(length - filled, ' ') + "]";
  parts.insert(parts.begin() + 2, {bar, 0});
  return joined(parts);
}

std::string progress_line(const Progress& progress) {
  return joined(segments(progress));
}

std::string progress_json(const Progress& progress) {
  const auto microseconds = [](Duration duration) {
    return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  };
  const auto optional = [&](const std::optional<Duration>& duration) {
    return duration ? nlohmann::json(microseconds(*duration)) : nlohmann::json();
  };
  const nlohmann::ordered_json line{
      {"type", "progress"},
      {"id", progress.id.empty() ? nlohmann::json() : nlohmann::json(progress.id)},
      {"phase", name_of(progress.phase)},
      {"elapsed_us", microseconds(progress.elapsed)},
      {"ram_bytes", progress.ram_bytes},
      {"pages_left", progress.pages_left},
      {"bytes_left", progress.bytes_left},
      {"bytes_sent", progress.bytes_sent},
      {"pages_sent", progress.pages_sent},
      {"send_bits_per_second", progress.send_bits_per_second},
      {"dirty_pages_per_second", progress.dirty_pages_per_second},
      {"compression_ratio", progress.compression},
      {"guest_share", progress.guest_share},
      {"predicted_pause_us", optional(progress.predicted_pause)},
      {"time_left_us", optional(progress.time_left)},
      {"encoding_device", progress.accelerator.empty() ? nlohmann::json() : nlohmann::json(progress.accelerator)},
      {"security", progress.security.empty() ? nlohmann::json() : nlohmann::json(progress.security)},
      {"trouble", progress.trouble.empty() ? nlohmann::json() : nlohmann::json(progress.trouble)},
      {"forecast", nlohmann::ordered_json::parse(forecast_object(progress.forecast))},
      {"fraction", clamped(progress.fraction)}};
  return line.dump();
}

}  // namespace godwit
