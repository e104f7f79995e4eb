#include "net/rate_limit.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/manual_clock.h"

namespace godwit::testing::rate_limit_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr BitRate kMegabytePerSecond{8'000'000};

TEST(RateLimit, ABurstIsFreeAndDebtIsSleptOff) {
  ManualClock clock;
  RateLimit limit(kMegabytePerSecond, clock, milliseconds(20));  // a burst of 20 kB
  EXPECT_EQ(limit.take(20'000), Duration::zero());
  EXPECT_EQ(limit.take(1'000), milliseconds(1));
  EXPECT_EQ(limit.take(9'000), milliseconds(10)) << "debts add up";
}

TEST(RateLimit, TimeFillsTheBucketUpToTheBurst) {
  ManualClock clock;
  RateLimit limit(kMegabytePerSecond, clock, milliseconds(20));
  EXPECT_EQ(limit.take(30'000), milliseconds(10));
  clock.advance(milliseconds(10));
  EXPECT_EQ(limit.take(1'000), milliseconds(1)) << "the debt is paid, no more";
  clock.advance(seconds(100));
  EXPECT_EQ(limit.take(20'000), Duration::zero());
  EXPECT_EQ(limit.take(1'000), milliseconds(1)) << "a long idle time buys one burst, not a hundred";
}

TEST(RateLimit, OverTimeTheRateIsKeptHoweverItIsTaken) {
  ManualClock clock;
  RateLimit limit(kMegabytePerSecond, clock, Duration::zero());
  std::uint64_t taken = 0;
  for (std::uint64_t size = 1; clock.now() < Instant(seconds(10)); size = size % 65'521 + 4'099) {
    clock.advance(limit.take(size));
    taken += size;
  }
  // The last piece may go over by itself, and each wait is rounded up to a nanosecond.
  EXPECT_NEAR(static_cast<double>(taken), 10e6, 70'000);
}

TEST(RateLimit, TellsWhatTimeHasNotMadeGood) {
  ManualClock clock;
  RateLimit limit(kMegabytePerSecond, clock, milliseconds(20));
  EXPECT_EQ(limit.taken(), 0U);
  limit.take(15'000);
  EXPECT_EQ(limit.taken(), 15'000U);
  clock.advance(milliseconds(5));
  EXPECT_EQ(limit.taken(), 10'000U);
  limit.take(20'000);
  EXPECT_EQ(limit.taken(), 30'000U) << "debt counts";
  clock.advance(seconds(1));
  EXPECT_EQ(limit.taken(), 0U);
  limit.take(15'000);
  limit.lift();
  EXPECT_EQ(limit.taken(), 0U);
}

TEST(RateLimit, LiftedNothingWaits) {
  ManualClock clock;
  RateLimit limit(kMegabytePerSecond, clock);
  EXPECT_GT(limit.take(1'000'000'000), Duration::zero());
  limit.lift();
  EXPECT_EQ(limit.take(1'000'000'000), Duration::zero());
}

TEST(RateLimit, ARateOfZeroIsNoBound) {
  ManualClock clock;
  RateLimit limit(BitRate{0}, clock);
  EXPECT_EQ(limit.take(std::uint64_t{1} << 50), Duration::zero());
}

TEST(RateLimit, AbsurdDebtsStayFinite) {
  ManualClock clock;
  RateLimit limit(BitRate{1}, clock);
  for (int i = 0; i < 100; ++i) {
    const Duration wait = limit.take(~std::uint64_t{0});
    EXPECT_GT(wait, Duration::zero());
    EXPECT_LE(wait, std::chrono::hours(24) + seconds(1));
  }
}

/// A channel so slow that its second piece waits for hours, and a thread that sends several pieces on it.
class StuckSender : public ::testing::Test {
 protected:
  void SetUp() override {
    auto pair = make_channel_pair();
    ASSERT_TRUE(pair);
    far_ = std::move(pair->second);
    near_ = limit_rate(std::move(pair->first), limit_);
    sender_ = std::jthread([this, until = Deadline::in(seconds(6), deadlines_)] {
      sent_ = send_bytes(*near_, std::vector<std::byte>(100'000), until);
    });
    // The first piece has been taken out of the bucket: the sender is on its way to sleep, or asleep.
    while (limit_->take(0) == Duration::zero()) std::this_thread::yield();
    std::this_thread::sleep_for(milliseconds(10));
  }
  void TearDown() override {
    if (near_) near_->abort();
  }

  SteadyClock clock_;
  ManualClock deadlines_;
  std::shared_ptr<RateLimit> limit_ = std::make_shared<RateLimit>(BitRate{8}, clock_);
  std::unique_ptr<Channel> near_;
  std::unique_ptr<Channel> far_;
  Status sent_;
  std::jthread sender_;
};

TEST_F(StuckSender, WakesOnAbort) {
  near_->abort();
  sender_.join();
  ASSERT_FALSE(sent_);
  EXPECT_EQ(sent_.error().kind, ErrorKind::kCancelled);
}

TEST_F(StuckSender, EndsAtItsDeadline) {
  deadlines_.advance(seconds(6));
  sender_.join();
  ASSERT_FALSE(sent_);
  EXPECT_EQ(sent_.error().kind, ErrorKind::kTimedOut) << sent_.error().message;
}

TEST_F(StuckSender, GoesOnWhenTheLimitIsLifted) {
  std::vector<std::byte> arrived(100'000);
  limit_->lift();
  ASSERT_TRUE(receive_bytes(*far_, arrived));
  sender_.join();
  EXPECT_TRUE(sent_);
}

TEST_F(StuckSender, GoesOnByAnotherLimit) {
  std::vector<std::byte> arrived(100'000);
  limit_->change(BitRate{8'000'000'000});
  ASSERT_TRUE(receive_bytes(*far_, arrived));
  sender_.join();
  EXPECT_TRUE(sent_);
}

TEST(RateLimit, ChangesWhileItCounts) {
  ManualClock clock;
  RateLimit limit(BitRate{}, clock, milliseconds(20));
  EXPECT_FALSE(limit.bounds());
  EXPECT_EQ(limit.take(1'000'000'000), Duration::zero());
  limit.change(kMegabytePerSecond);
  EXPECT_TRUE(limit.bounds());
  EXPECT_EQ(limit.take(20'000), Duration::zero());
  EXPECT_EQ(limit.take(1'000), milliseconds(1));
  limit.change(BitRate{80'000'000});
  EXPECT_EQ(limit.take(201'000), Duration(std::chrono::microseconds(100)));
  limit.change(BitRate{});
  EXPECT_EQ(limit.take(1'000'000'000), Duration::zero());
}

/// The pause waits for no budget, whatever the operator says meanwhile.
TEST(RateLimit, StaysLiftedWhenItChanges) {
  ManualClock clock;
  RateLimit limit(kMegabytePerSecond, clock, milliseconds(20));
  limit.lift();
  limit.change(kMegabytePerSecond);
  EXPECT_FALSE(limit.bounds());
  limit.impose();
  EXPECT_TRUE(limit.bounds());
  EXPECT_EQ(limit.take(21'000), milliseconds(1));
}

TEST(RateLimit, PacesBelowItsBoundAndWithoutOne) {
  ManualClock clock;
  RateLimit limit(BitRate{80'000'000}, clock);  // 10 MB/s, bursts of 200 kB
  limit.pace(1e6);
  EXPECT_TRUE(limit.bounds());
  EXPECT_EQ(limit.piece(), 16U * 1024);
  // Hardly any burst: what has not been used is lost.
  clock.advance(std::chrono::seconds(1));
  EXPECT_EQ(limit.take(100'300), std::chrono::milliseconds(100));
  clock.advance(std::chrono::milliseconds(100));
  limit.lift();
  EXPECT_EQ(limit.take(300 + 50'000), std::chrono::microseconds(50'300)) << "a pace outlives the bound";
  limit.pace(0);
  EXPECT_FALSE(limit.bounds());
  EXPECT_EQ(limit.take(1'000'000'000), Duration{});
  limit.impose();
  limit.pace(100e6);
  EXPECT_EQ(limit.take(200'000), Duration{}) << "the bound is the lower one, with its burst";
  EXPECT_GT(limit.take(100'000), Duration{});
}

}  // namespace
}  // namespace godwit::testing::rate_limit_test
