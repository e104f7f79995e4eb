// Parses and prints quantities. Parsing is exact decimal arithmetic on integers: 0.1s is 100000000 ns, not nearly so.
// Ambiguous spellings (100Mb, 512M, 5m) are refused with both readings instead of guessed at.
#include "base/units.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <span>

namespace godwit {

namespace {

__extension__ using Wide = unsigned __int128;

/// A spelling of a unit and how many of the base quantity it is. 0: known, but ambiguous.
struct Unit {
  std::string_view name;
  std::uint64_t size = 0;
};

constexpr std::uint64_t kThousand = 1000;
constexpr std::uint64_t kMillion = kThousand * kThousand;
constexpr std::uint64_t kBillion = kThousand * kMillion;
constexpr std::uint64_t kTrillion = kThousand * kBillion;
constexpr std::uint64_t kTiB = 1024 * kGiB;

// Base quantity: nanoseconds.
constexpr std::array kDurationUnits{
    Unit{"ns", 1},        Unit{"us", kThousand}, Unit{"\u00b5s", kThousand}, Unit{"\u03bcs", kThousand},
    Unit{"ms", kMillion}, Unit{"s", kBillion},   Unit{"min", 60 * kBillion}, Unit{"h", 3600 * kBillion},
    Unit{"m", 0}};

// Base quantity: bits per second.
constexpr std::array kBitRateUnits{Unit{"bit", 1},
                                   Unit{"kbit", kThousand},
                                   Unit{"Mbit", kMillion},
                                   Unit{"Gbit", kBillion},
                                   Unit{"Tbit", kTrillion},
                                   Unit{"bps", 1},
                                   Unit{"kbps", kThousand},
                                   Unit{"Mbps", kMillion},
                                   Unit{"Gbps", kBillion},
                                   Unit{"Tbps", kTrillion},
                                   Unit{"B", 8},
                                   Unit{"kB", 8 * kThousand},
                                   Unit{"KB", 8 * kThousand},
                                   Unit{"MB", 8 * kMillion},
                                   Unit{"GB", 8 * kBillion},
                                   Unit{"TB", 8 * kTrillion},
                                   Unit{"KiB", 8 * kKiB},
                                   Unit{"MiB", 8 * kMiB},
                                   Unit{"GiB", 8 * kGiB},
                                   Unit{"TiB", 8 * kTiB},
                                   Unit{"kb", 0},
                                   Unit{"Mb", 0},
                                   Unit{"Gb", 0},
                                   Unit{"k", 0},
                                   Unit{"K", 0},
                                   Unit{"M", 0},
                                   Unit{"G", 0}};

// Base quantity: bytes.
constexpr std::array kSizeUnits{
    Unit{"", 1},          Unit{"B", 1},          Unit{"kB", kThousand}, Unit{"KB", kThousand}, Unit{"MB", kMillion},
    Unit{"GB", kBillion}, Unit{"TB", kTrillion}, Unit{"KiB", kKiB},     Unit{"MiB", kMiB},     Unit{"GiB", kGiB},
    Unit{"TiB", kTiB},    Unit{"k", 0},          Unit{"K", 0},          Unit{"M", 0},          Unit{"G", 0},
    Unit{"T", 0},         Unit{"Kb", 0},         Unit{"Mb", 0},         Unit{"Gb", 0}};

/// What is being parsed, for the messages.
struct Quantity {
  std::string_view noun;      ///< "duration"
  std::string_view examples;  ///< "50ms, 1.5s or 2min"
  std::string_view base;      ///< "nanoseconds"
  std::string_view choice;    ///< how to write what is ambiguous
  std::span<const Unit> units;
};

constexpr Quantity kDuration{"a duration", "50ms, 1.5s, 2min or 1h", "nanoseconds", "ms or min", kDurationUnits};
constexpr Quantity kBitRate{"a bit rate", "100Mbit, 2.5Gbit or 125MB", "bits per second",
                            "Mbit (bits a second) or MB (bytes a second), or with k or G", kBitRateUnits};
constexpr Quantity kSize{"a size", "512MiB, 4GiB or 100MB", "bytes",
                         "MiB (1048576 bytes) or MB (1000000 bytes), or with k, G or T", kSizeUnits};

// Longer texts are not quantities; also keeps messages at one line.
constexpr std::size_t kLongestText = 64;
// Digits of a number, leading zeros not counted: with more, the product with a unit could leave 128 bits.
constexpr unsigned kMostDigits = 20;

bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, kLongestText)) out += std::iscntrl(static_cast<unsigned char>(c)) ? '?' : c;
  return out + (text.size() > kLongestText ? "...'" : "'");
}

tl::unexpected<Error> refuse(const Quantity& quantity, std::string_view text, std::string_view why) {
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("{} is not {}: {}; write {}", quoted(text), quantity.noun, why, quantity.examples));
}

/// mantissa / scale, as it was in the text.
struct Decimal {
  Wide mantissa = 0;
  Wide scale = 1;
};

/// Reads the number at the start of `rest` and leaves the unit there.
Result<Decimal> take_number(const Quantity& quantity, std::string_view text, std::string_view& rest) {
  Decimal number;
  unsigned digits = 0;
  bool any = false;
  bool in_fraction = false;
  for (; !rest.empty(); rest.remove_prefix(1)) {
    const char c = rest.front();
    if (c == '.' && !in_fraction) {
      in_fraction = true;
      continue;
    }
    if (!is_digit(c)) break;
    any = true;
    if (number.mantissa != 0 || c != '0') ++digits;
    if (digits > kMostDigits) return refuse(quantity, text, "it has too many digits");
    number.mantissa = number.mantissa * 10 + static_cast<unsigned>(c - '0');
    if (in_fraction) {
      // Zeros right after the point count as digits here, because they make the scale grow.
      if (number.scale > Wide{kTrillion} * kMillion) return refuse(quantity, text, "it has too many digits");
      number.scale *= 10;
    }
  }
  if (any) return number;
  if (text.starts_with('-')) return refuse(quantity, text, "it is negative");
  return refuse(quantity, text, text.empty() ? "it is empty" : "it does not begin with a number");
}

/// The spelling as in the table where case does not change the meaning: "gbit" is Gbit, but "mb" stays what it is.
std::string_view without_case(std::string_view name, std::span<const Unit> units) noexcept {
  const auto same = [](std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
      return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
    });
  };
  for (const Unit& unit : units) {
    const bool unambiguous = unit.name.ends_with("bit") || unit.name.ends_with("iB");
    if (unambiguous && same(unit.name, name)) return unit.name;
  }
  return name;
}

/// The whole text as a count of the base quantity, rounded to nearest.
Result<std::uint64_t> parse(const Quantity& quantity, std::string_view text, bool per_second_allowed) {
  if (text.size() > kLongestText) return refuse(quantity, text, "it is too long");
  std::string_view rest = text;
  const Decimal number = TRY(take_number(quantity, text, rest));
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  std::string_view name = rest;
  if (per_second_allowed && name.ends_with("/s")) {
    name.remove_suffix(2);
  } else if (per_second_allowed && name.ends_with("Bps")) {
    name.remove_suffix(2);
  }
  name = without_case(name, quantity.units);
  const auto unit = std::find_if(quantity.units.begin(), quantity.units.end(),
                                 [&](const Unit& candidate) { return candidate.name == name; });
  if (unit == quantity.units.end()) {
    return refuse(quantity, text,
                  name.empty() ? std::string("its unit is missing") : fmt::format("unit {} is unknown", quoted(name)));
  }
  if (unit->size == 0) {
    return refuse(quantity, text, fmt::format("unit {} is ambiguous, say {}", quoted(name), quantity.choice));
  }
  // Nobody means half a byte or half a nanosecond: a unit is missing or wrong.
  if (unit->size == 1 && number.mantissa % number.scale != 0) {
    return refuse(quantity, text, fmt::format("it is not a whole number of {}", quantity.base));
  }
  const Wide exact = number.mantissa * unit->size;
  const Wide rounded = (exact + number.scale / 2) / number.scale;
  if (rounded == 0 && number.mantissa != 0) {
    return refuse(quantity, text, fmt::format("it is less than one of its smallest units, {}", quantity.base));
  }
  if (rounded > std::numeric_limits<std::uint64_t>::max()) return refuse(quantity, text, "it is too large");
  return static_cast<std::uint64_t>(rounded);
}

/// A unit to print in; the next one's size tells when to go on to it.
struct Step {
  double size = 1;
  std::string_view name;
};

/// `value` in the largest unit of which there is one after rounding: 999.6 ms is "1 s". Trailing zeros are left out.
std::string format_in(double value, std::span<const Step> steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const double scaled = value / steps[i].size;
    const int decimals = scaled < 9.995 ? 2 : scaled < 99.95 ? 1 : 0;
    const double precision = std::pow(10.0, decimals);
    const double shown = std::round(scaled * precision) / precision;
    const bool last = i + 1 == steps.size();
    if (!last && shown >= steps[i + 1].size / steps[i].size) continue;
    std::string digits = fmt::format("{:.{}f}", shown, decimals);
    if (decimals > 0) {
      digits.erase(digits.find_last_not_of('0') + 1);
      if (digits.ends_with('.')) digits.pop_back();
    }
    return fmt::format("{} {}", digits, steps[i].name);
  }
  return {};
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const std::uint64_t nanoseconds = TRY(parse(kDuration, text, false));
  if (nanoseconds > static_cast<std::uint64_t>(Duration::max().count())) {
    return refuse(kDuration, text, "it is too large");
  }
  return Duration(static_cast<Duration::rep>(nanoseconds));
}

Result<BitRate> parse_bit_rate(std::string_view text) {
  return BitRate{TRY(parse(kBitRate, text, true))};
}

Result<std::uint64_t> parse_size(std::string_view text) {
  return parse(kSize, text, false);
}

std::string format_duration(Duration duration) {
  static constexpr std::array kSteps{Step{1, "ns"},  Step{1e3, "us"},   Step{1e6, "ms"},
                                     Step{1e9, "s"}, Step{60e9, "min"}, Step{3600e9, "h"}};
  const auto count = static_cast<double>(duration.count());
  return (count < 0 ? "-" : "") + format_in(std::abs(count), kSteps);
}

std::string format_size(std::uint64_t bytes) {
  // 1000 to 1023 of a unit are shown with four digits: going on to 0.98 of the next would be harder to read.
  static constexpr std::array kSteps{Step{1, "B"}, Step{static_cast<double>(kKiB), "KiB"},
                                     Step{static_cast<double>(kMiB), "MiB"}, Step{static_cast<double>(kGiB), "GiB"},
                                     Step{static_cast<double>(kTiB), "TiB"}};
  return format_in(static_cast<double>(bytes), kSteps);
}

std::string format_bit_rate(double bits_per_second) {
  static constexpr std::array kSteps{Step{1, "bit/s"}, Step{1e3, "kbit/s"}, Step{1e6, "Mbit/s"}, Step{1e9, "Gbit/s"},
                                     Step{1e12, "Tbit/s"}};
  // A rate over an interval of no length is not a number.
  if (!std::isfinite(bits_per_second) || bits_per_second < 0) return "unknown";
  return format_in(bits_per_second, kSteps);
}

}  // namespace godwit
