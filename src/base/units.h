// Quantities as people write them: 50ms, 1Gbit, 512MiB.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace godwit {

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

/// Bits per second on a link; network prefixes are powers of ten.
struct BitRate {
  std::uint64_t bits_per_second = 0;
  double bytes_per_second() const noexcept { return static_cast<double>(bits_per_second) / 8; }
  auto operator<=>(const BitRate&) const = default;
};

/// "50ms", "1.5s", "2min", "1h", "300us". A unit is required; kInvalidArgument names the text and what would do.
Result<Duration> parse_duration(std::string_view text);
/// "1Gbit", "100Mbit", "2.5Gbit", "125MB" (bytes per second), "1Gbit/s" and "1Gbps" too.
Result<BitRate> parse_bit_rate(std::string_view text);
/// "512MiB", "4GiB", "100MB", "4096".
Result<std::uint64_t> parse_size(std::string_view text);

/// Three significant digits and a unit: "3.21 ms", "1.2 GiB", "955 Mbit/s".
std::string format_duration(Duration duration);
std::string format_size(std::uint64_t bytes);
std::string format_bit_rate(double bits_per_second);

}  // namespace godwit
