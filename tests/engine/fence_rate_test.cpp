// What the answers to fences tell of the way to the receiver.
#include "engine/fence_rate.h"

#include <gtest/gtest.h>

namespace godwit::fence_rate_test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMegabyte = 1'000'000;
constexpr double kTwelve = 0.0125;  ///< 100 Mbit/s, in bytes a nanosecond

constexpr Duration kLongRound = 100s;  ///< in which nothing was sent for most of the time

/// A round behind a queue out of sight, on a line of that length.
Duration answer(std::uint64_t bytes, double bytes_per_ns, Duration line) {
  return line + Duration(static_cast<Duration::rep>(static_cast<double>(bytes) / bytes_per_ns));
}

TEST(FenceRate, TellsTheRateOfAQueueOutOfSightWhateverTheLengthOfTheLine) {
  for (const Duration line : {Duration(0), Duration(1ms), Duration(150ms)}) {
    FenceRate rate;
    rate.add(2 * kMegabyte, answer(2 * kMegabyte, kTwelve, line), kLongRound);
    EXPECT_EQ(rate.bytes_per_ns(), 0) << "one answer may be the line's length";
    rate.add(4 * kMegabyte, answer(4 * kMegabyte, kTwelve, line), kLongRound);
    EXPECT_NEAR(rate.bytes_per_ns(), kTwelve, kTwelve / 100);
    rate.add(kMegabyte, answer(kMegabyte, kTwelve, line), kLongRound);
    EXPECT_NEAR(rate.bytes_per_ns(), kTwelve, kTwelve / 100) << "less is quicker";
  }
}

TEST(FenceRate, ALongLineAloneTellsNothing) {
  FenceRate rate;
  for (const std::uint64_t bytes : {kMegabyte, 8 * kMegabyte, 2 * kMegabyte, 30 * kMegabyte}) {
    rate.add(bytes, 200ms, kLongRound);
    EXPECT_EQ(rate.bytes_per_ns(), 0);
  }
}

TEST(FenceRate, AHiccupAfterFewBytesTellsNothing) {
  FenceRate rate;
  rate.add(20'000, 1ms, kLongRound);
  rate.add(60'000, 300ms, kLongRound);
  EXPECT_EQ(rate.bytes_per_ns(), 0);
}

TEST(FenceRate, TheEndOfALongRoundTellsNothing) {
  FenceRate rate;
  rate.add(20'000, 1ms, kLongRound);
  rate.add(900 * kMegabyte, 400ms, kLongRound);  // most of it had arrived long before
  EXPECT_EQ(rate.bytes_per_ns(), 0);
}

TEST(FenceRate, IsForgottenWhenMuchIsAnsweredQuickly) {
  FenceRate rate;
  rate.add(kMegabyte, 80ms, kLongRound);
  rate.add(3 * kMegabyte, 240ms, kLongRound);
  EXPECT_GT(rate.bytes_per_ns(), 0);
  rate.add(3 * kMegabyte, 2ms, kLongRound);
  EXPECT_EQ(rate.bytes_per_ns(), 0);
}

TEST(FenceRate, IsNeverLessThanWhatCameThrough) {
  FenceRate rate;
  rate.add(kMegabyte, 80ms, kLongRound);
  rate.add(3 * kMegabyte, 240ms, kLongRound);
  EXPECT_GT(rate.bytes_per_ns(), 0);
  rate.add(60 * kMegabyte, 240ms, 300ms);
  EXPECT_EQ(rate.bytes_per_ns(), 0);
  // The way has become faster, and less is sent: not because less was sent has the answer come so much earlier.
  rate.add(5 * kMegabyte, 400ms, kLongRound);
  rate.add(3 * kMegabyte / 10, 2ms, 10ms);
  EXPECT_EQ(rate.bytes_per_ns(), 0);
}

}  // namespace
}  // namespace godwit::fence_rate_test
