#include "base/units.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace godwit::units_test {
namespace {

using namespace std::chrono_literals;

TEST(ParseDuration, ReadsEveryUnit) {
  EXPECT_EQ(parse_duration("7ns"), Duration(7));
  EXPECT_EQ(parse_duration("300us"), Duration(300us));
  EXPECT_EQ(parse_duration("300\u00b5s"), Duration(300us));
  EXPECT_EQ(parse_duration("300\u03bcs"), Duration(300us));
  EXPECT_EQ(parse_duration("50ms"), Duration(50ms));
  EXPECT_EQ(parse_duration("1.5s"), Duration(1500ms));
  EXPECT_EQ(parse_duration("2min"), Duration(2min));
  EXPECT_EQ(parse_duration("1h"), Duration(1h));
  EXPECT_EQ(parse_duration("0ms"), Duration(0));
  EXPECT_EQ(parse_duration("50 ms"), Duration(50ms));
  EXPECT_EQ(parse_duration(".5s"), Duration(500ms));
}

TEST(ParseDuration, IsExactInDecimals) {
  EXPECT_EQ(parse_duration("0.1s"), Duration(100'000'000));
  EXPECT_EQ(parse_duration("0.123456789s"), Duration(123'456'789));
  EXPECT_EQ(parse_duration("1.0000000004s"), Duration(1'000'000'000));
  EXPECT_EQ(parse_duration("1.0000000005s"), Duration(1'000'000'001));
}

TEST(ParseBitRate, ReadsBitsAndBytesPerSecond) {
  EXPECT_EQ(parse_bit_rate("8bit"), BitRate{8});
  EXPECT_EQ(parse_bit_rate("64kbit"), BitRate{64'000});
  EXPECT_EQ(parse_bit_rate("100Mbit"), BitRate{100'000'000});
  EXPECT_EQ(parse_bit_rate("2.5Gbit"), BitRate{2'500'000'000});
  EXPECT_EQ(parse_bit_rate("1Tbit"), BitRate{1'000'000'000'000});
  EXPECT_EQ(parse_bit_rate("1Gbit/s"), BitRate{1'000'000'000});
  EXPECT_EQ(parse_bit_rate("1Gbps"), BitRate{1'000'000'000});
  EXPECT_EQ(parse_bit_rate("1gbit"), BitRate{1'000'000'000});
  EXPECT_EQ(parse_bit_rate("125MB"), BitRate{1'000'000'000});
  EXPECT_EQ(parse_bit_rate("125MB/s"), BitRate{1'000'000'000});
  EXPECT_EQ(parse_bit_rate("125MBps"), BitRate{1'000'000'000});
  EXPECT_EQ(parse_bit_rate("1GB"), BitRate{8'000'000'000});
  EXPECT_EQ(parse_bit_rate("1MiB"), BitRate{8 * kMiB});
  EXPECT_EQ(parse_bit_rate("955 Mbit/s"), BitRate{955'000'000});
}

TEST(ParseSize, ReadsBinaryAndDecimalUnits) {
  EXPECT_EQ(parse_size("4096"), 4096U);
  EXPECT_EQ(parse_size("12B"), 12U);
  EXPECT_EQ(parse_size("1kB"), 1000U);
  EXPECT_EQ(parse_size("4KiB"), 4096U);
  EXPECT_EQ(parse_size("512MiB"), 512 * kMiB);
  EXPECT_EQ(parse_size("512mib"), 512 * kMiB);
  EXPECT_EQ(parse_size("4GiB"), 4 * kGiB);
  EXPECT_EQ(parse_size("1.5GiB"), 3 * kGiB / 2);
  EXPECT_EQ(parse_size("2TiB"), 2048 * kGiB);
  EXPECT_EQ(parse_size("100MB"), 100'000'000U);
}

/// The text is refused, and the message names it, the reason and what would do.
template <typename T>
void expect_refused(const Result<T>& result, std::string_view text, std::string_view reason, std::string_view example) {
  ASSERT_FALSE(result.has_value()) << text;
  EXPECT_EQ(result.error().kind, ErrorKind::kInvalidArgument);
  const std::string& message = result.error().message;
  EXPECT_NE(message.find("'" + std::string(text) + "'"), std::string::npos) << message;
  EXPECT_NE(message.find(reason), std::string::npos) << message;
  EXPECT_NE(message.find(example), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

TEST(ParseUnits, RefusesBadTextsAndSaysWhatWouldDo) {
  expect_refused(parse_duration("50"), "50", "unit is missing", "50ms");
  expect_refused(parse_duration(""), "", "empty", "50ms");
  expect_refused(parse_duration("fast"), "fast", "does not begin with a number", "50ms");
  expect_refused(parse_duration("-5ms"), "-5ms", "negative", "50ms");
  expect_refused(parse_duration("5m"), "5m", "ambiguous, say ms or min", "50ms");
  expect_refused(parse_duration("5days"), "5days", "unit 'days' is unknown", "50ms");
  expect_refused(parse_duration("1.2.3s"), "1.2.3s", "unknown", "50ms");
  expect_refused(parse_duration("."), ".", "does not begin with a number", "50ms");
  expect_refused(parse_duration("5ms "), "5ms ", "unknown", "50ms");
  expect_refused(parse_duration("1.5ns"), "1.5ns", "not a whole number of nanoseconds", "50ms");
  expect_refused(parse_duration("0.0001us"), "0.0001us", "less than one", "50ms");
  expect_refused(parse_bit_rate("100Mb"), "100Mb", "ambiguous", "100Mbit");
  expect_refused(parse_bit_rate("100M"), "100M", "ambiguous", "100Mbit");
  expect_refused(parse_bit_rate("100"), "100", "unit is missing", "100Mbit");
  expect_refused(parse_bit_rate("1Gbit/min"), "1Gbit/min", "unknown", "100Mbit");
  expect_refused(parse_size("512M"), "512M", "ambiguous", "512MiB");
  expect_refused(parse_size("1.5"), "1.5", "not a whole number of bytes", "512MiB");
  expect_refused(parse_size("1Gbit"), "1Gbit", "unknown", "512MiB");
}

TEST(ParseUnits, RefusesWhatDoesNotFit) {
  EXPECT_EQ(parse_size("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  expect_refused(parse_size("18446744073709551616"), "18446744073709551616", "too large", "512MiB");
  expect_refused(parse_size("99999999999TiB"), "99999999999TiB", "too large", "512MiB");
  expect_refused(parse_size("999999999999999999999999"), "999999999999999999999999", "too many digits", "512MiB");
  expect_refused(parse_duration("0.00000000000000000001s"), "0.00000000000000000001s", "too many digits", "50ms");
  EXPECT_EQ(parse_duration("9223372036854775807ns"), Duration::max());
  expect_refused(parse_duration("9223372036854775808ns"), "9223372036854775808ns", "too large", "50ms");
  expect_refused(parse_duration("3000000h"), "3000000h", "too large", "50ms");
  expect_refused(parse_bit_rate("20000000Tbit"), "20000000Tbit", "too large", "100Mbit");
  EXPECT_EQ(parse_size("0000000000000000000000000000001"), 1U);
}

TEST(ParseUnits, KeepsTheMessageAtOneShortLine) {
  std::string many(1000, 'x');
  many += '\n';
  const auto result = parse_duration(many);
  ASSERT_FALSE(result.has_value());
  EXPECT_LT(result.error().message.size(), 200U);
  const auto control = parse_duration("5\x1b[2Jms");
  ASSERT_FALSE(control.has_value());
  EXPECT_EQ(control.error().message.find('\x1b'), std::string::npos);
}

TEST(FormatDuration, ShowsThreeDigitsAndAUnit) {
  EXPECT_EQ(format_duration(Duration(0)), "0 ns");
  EXPECT_EQ(format_duration(Duration(17)), "17 ns");
  EXPECT_EQ(format_duration(3210us), "3.21 ms");
  EXPECT_EQ(format_duration(3214us), "3.21 ms");
  EXPECT_EQ(format_duration(32140us), "32.1 ms");
  EXPECT_EQ(format_duration(321400us), "321 ms");
  EXPECT_EQ(format_duration(50ms), "50 ms");
  EXPECT_EQ(format_duration(100ms), "100 ms");
  EXPECT_EQ(format_duration(90s), "1.5 min");
  EXPECT_EQ(format_duration(2h), "2 h");
  EXPECT_EQ(format_duration(100h), "100 h");
  EXPECT_EQ(format_duration(-3210us), "-3.21 ms");
}

TEST(FormatDuration, GoesOnToTheNextUnitAfterRounding) {
  EXPECT_EQ(format_duration(999us), "999 us");
  EXPECT_EQ(format_duration(999'400us), "999 ms");
  EXPECT_EQ(format_duration(999'600us), "1 s");
  EXPECT_EQ(format_duration(1000ms), "1 s");
  EXPECT_EQ(format_duration(9'996us), "10 ms");
  EXPECT_EQ(format_duration(99'960us), "100 ms");
  EXPECT_EQ(format_duration(59'970ms), "1 min");
  EXPECT_EQ(format_duration(59min + 59s), "1 h");
}

TEST(FormatSize, ShowsBinaryUnits) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1 KiB");
  EXPECT_EQ(format_size(1000 * kMiB), "1000 MiB");
  EXPECT_EQ(format_size(1288490189), "1.2 GiB");
  EXPECT_EQ(format_size(kGiB - 1), "1 GiB");
  EXPECT_EQ(format_size(5000 * 1024 * kGiB), "5000 TiB");
}

TEST(FormatBitRate, ShowsDecimalUnits) {
  EXPECT_EQ(format_bit_rate(0), "0 bit/s");
  EXPECT_EQ(format_bit_rate(955e6), "955 Mbit/s");
  EXPECT_EQ(format_bit_rate(999.7e6), "1 Gbit/s");
  EXPECT_EQ(format_bit_rate(12.345e9), "12.3 Gbit/s");
  EXPECT_EQ(format_bit_rate(std::nan("")), "unknown");
  EXPECT_EQ(format_bit_rate(std::numeric_limits<double>::infinity()), "unknown");
  EXPECT_EQ(format_bit_rate(-1), "unknown");
}

TEST(FormatUnits, CanBeReadBack) {
  for (std::int64_t ns = 1; ns < Duration(10h).count(); ns = ns * 7 / 3 + 1) {
    const auto back = parse_duration(format_duration(Duration(ns)));
    ASSERT_TRUE(back.has_value()) << format_duration(Duration(ns));
    EXPECT_NEAR(static_cast<double>(back->count()), static_cast<double>(ns), static_cast<double>(ns) * 0.00501) << ns;
  }
  for (std::uint64_t bytes = 1; bytes < 4096 * kGiB; bytes = bytes * 7 / 3 + 1) {
    const auto back = parse_size(format_size(bytes));
    ASSERT_TRUE(back.has_value()) << format_size(bytes);
    EXPECT_NEAR(static_cast<double>(*back), static_cast<double>(bytes), static_cast<double>(bytes) * 0.00501) << bytes;
  }
}

}  // namespace
}  // namespace godwit::units_test
