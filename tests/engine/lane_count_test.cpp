// How many lanes there come to be, on links that are modelled second by second.
#include "engine/lane_count.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

namespace godwit::lane_count_test {
namespace {

using namespace std::chrono_literals;

constexpr double kMega = 1e6;

/// What lanes do on some link in one second: bytes a second, and the share of their time in which they wait for it.
struct Second {
  double rate = 0;
  double waits = 1;
};
using LinkModel = std::function<Second(unsigned lanes, Duration elapsed)>;

/// A move of so many bytes, which waits 200 ms for each change.
struct Course {
  std::vector<unsigned> changes;  ///< to how many, in turn
  unsigned lanes = 0;
  Duration took{};
};
Course move(const LinkModel& link, double bytes, unsigned lanes, unsigned most, double bound = 0) {
  constexpr Duration kChange = 200ms;
  LaneCount count({}, most);
  LanesSeen seen{.lanes = lanes, .bound = bound};
  Course course{.changes = {}, .lanes = lanes};
  double sent = 0;
  while (sent < bytes) {
    const Second now = link(seen.lanes, seen.elapsed);
    const double rate = bound > 0 ? std::min(bound, now.rate) : now.rate;
    seen.elapsed += 1s;
    sent += rate;
    seen.bytes = static_cast<std::uint64_t>(sent);
    seen.waited += std::chrono::duration_cast<Duration>(std::chrono::duration<double>(now.waits * seen.lanes));
    const double left = std::max(0.0, bytes - sent) / std::max(rate, 1.0);
    seen.left = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left));
    const auto wanted = count.look(seen);
    if (!wanted) continue;
    course.changes.push_back(*wanted);
    seen.lanes = *wanted;
    seen.elapsed += kChange;
    count.changed(kChange);
  }
  course.lanes = seen.lanes;
  course.took = seen.elapsed;
  return course;
}

Second each_has_a_limit(unsigned lanes, Duration /*elapsed*/) {
  return {10 * kMega * lanes};
}
Second all_share_one(unsigned /*lanes*/, Duration /*elapsed*/) {
  return {100 * kMega};
}

TEST(LaneCountOnALink, GrowsToTheBoundWhereEachConnectionHasALimit) {
  const Course course = move(each_has_a_limit, 100'000 * kMega, 4, 16);
  EXPECT_EQ(course.changes, (std::vector<unsigned>{8, 16}));
  const Course uneven = move(each_has_a_limit, 100'000 * kMega, 5, 16);
  EXPECT_EQ(uneven.changes, (std::vector<unsigned>{10, 16}));
}

TEST(LaneCountOnALink, TriesOnceWhereAllShareOneLimit) {
  const Course course = move(all_share_one, 1'000'000 * kMega, 4, 16);
  EXPECT_EQ(course.changes, (std::vector<unsigned>{8, 4}));
}

/// Some connections more fill the link, and still more would not help.
TEST(LaneCountOnALink, KeepsWhatHasHelpedAndTriesOnceMore) {
  const auto link = [](unsigned lanes, Duration) { return Second{std::min(10 * kMega * lanes, 75 * kMega)}; };
  const Course course = move(link, 100'000 * kMega, 4, 32);
  EXPECT_EQ(course.changes, (std::vector<unsigned>{8, 16, 8}));
}

TEST(LaneCountOnALink, TriesNothingWhereLanesAreHeldUpByTheCpu) {
  const auto link = [](unsigned lanes, Duration) { return Second{10 * kMega * lanes, 0.2}; };
  EXPECT_TRUE(move(link, 100'000 * kMega, 4, 16).changes.empty());
}

TEST(LaneCountOnALink, TriesNothingWhereTheOperatorHoldsThem) {
  EXPECT_TRUE(move(each_has_a_limit, 100'000 * kMega, 4, 16, 40 * kMega).changes.empty());
  // Held only once there are more.
  EXPECT_EQ(move(each_has_a_limit, 100'000 * kMega, 4, 16, 60 * kMega).changes, (std::vector<unsigned>{8}));
}

TEST(LaneCountOnALink, TriesNothingInAShortMove) {
  EXPECT_TRUE(move(each_has_a_limit, 40 * 35 * kMega, 4, 16).changes.empty());
}

TEST(LaneCountOnALink, TriesNothingBeyondItsBound) {
  EXPECT_TRUE(move(each_has_a_limit, 100'000 * kMega, 4, 4).changes.empty());
  EXPECT_TRUE(move(each_has_a_limit, 100'000 * kMega, 4, 0).changes.empty());
}

/// An hour of a link whose rate is another one by up to 30 % each second.
TEST(LaneCountOnALink, IsNotLedAboutByNoise) {
  unsigned misled = 0;
  constexpr unsigned kMoves = 200;
  for (unsigned seed = 0; seed < kMoves; ++seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> noise(0.7, 1.3);
    const Course shared =
        move([&](unsigned, Duration) { return Second{100 * kMega * noise(random)}; }, 3600 * 100 * kMega, 4, 16);
    // At most up to the bound and one step back.
    EXPECT_LE(shared.changes.size(), 3U) << seed;
    misled += shared.lanes != 4;
    const Course limited = move([&](unsigned lanes, Duration) { return Second{10 * kMega * lanes * noise(random)}; },
                                100'000 * kMega, 4, 16);
    EXPECT_EQ(limited.lanes, 16U) << seed;
  }
  EXPECT_LE(misled, kMoves / 10) << "took noise for a gain";
}

TEST(LaneCountOnALink, TriesAgainOnceTheLinkHasBecomeAnother) {
  // The first two thousand seconds another move has the link.
  const auto link = [](unsigned lanes, Duration elapsed) {
    return elapsed < 2000s ? Second{20 * kMega} : Second{15 * kMega * lanes};
  };
  EXPECT_EQ(move(link, 1'000'000 * kMega, 4, 16).changes, (std::vector<unsigned>{8, 4, 8, 16}));
}

/// For as much as is left.
LanesSeen at(Duration elapsed, unsigned lanes, double rate, Duration left = 1000s) {
  return {.elapsed = elapsed,
          .lanes = lanes,
          .bytes = static_cast<std::uint64_t>(rate * std::chrono::duration<double>(elapsed).count()),
          .waited = elapsed * lanes,
          .left = left};
}

TEST(LaneCount, TriesNothingMoreOnceAChangeHasFailed) {
  LaneCount count({}, 16);
  std::optional<unsigned> wanted;
  auto elapsed = 0s;
  while (!wanted && elapsed < 60s) wanted = count.look(at(elapsed += 1s, 4, kMega));
  ASSERT_EQ(wanted, 8U);
  count.not_changed(4);
  while (elapsed < 7200s) EXPECT_FALSE(count.look(at(elapsed += 1s, 4, kMega)));
}

/// Nothing was tried: there is nothing to go back from.
TEST(LaneCount, BeginsAnewWhereTheLinkIsLostBeforeAChange) {
  LaneCount count({}, 16);
  std::optional<unsigned> wanted;
  auto elapsed = 0s;
  while (!wanted) wanted = count.look(at(elapsed += 1s, 4, kMega));
  count.interrupted();
  wanted.reset();
  while (!wanted && elapsed < 60s) wanted = count.look(at(elapsed += 1s, 4, kMega));
  EXPECT_EQ(wanted, 8U);
}

TEST(LaneCount, TriesNothingMoreWhereAChangeTakesLong) {
  LaneCount count({}, 16);
  count.changed(2s);
  for (auto elapsed = 0s; elapsed < 600s; elapsed += 1s) EXPECT_FALSE(count.look(at(elapsed, 4, kMega, 190s)));
  std::optional<unsigned> wanted;
  for (auto elapsed = 600s; !wanted && elapsed < 660s; elapsed += 1s) wanted = count.look(at(elapsed, 4, kMega, 210s));
  EXPECT_EQ(wanted, 8U);
}

TEST(LaneCount, CountsNoOutageAsASlowLink) {
  LaneCount count({}, 16);
  std::optional<unsigned> wanted;
  auto elapsed = 0s;
  while (!wanted) wanted = count.look(at(elapsed += 1s, 4, kMega));
  count.changed(100ms);
  std::uint64_t bytes = 0;
  const auto look = [&](std::uint64_t more) {
    auto seen = at(elapsed += 1s, 8, kMega);
    seen.bytes += bytes += more;
    return count.look(seen);
  };
  for (int i = 0; i < 6; ++i) EXPECT_FALSE(look(1'000'000));
  elapsed += 60s;
  bytes -= 60'000'000;
  count.interrupted();
  for (int i = 0; i < 40; ++i) EXPECT_NE(look(1'000'000), 4U) << i;
}

}  // namespace
}  // namespace godwit::lane_count_test
