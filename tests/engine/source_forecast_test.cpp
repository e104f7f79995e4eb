// What an operator is told of a move that goes on: early if it will not fit, once, and again when that changes.
#include "engine/source_forecast.h"

#include <gtest/gtest.h>

namespace godwit::source_forecast_test {
namespace {

using namespace std::chrono_literals;

constexpr double kPages = 1'000'000;

/// A source over a link of `bytes_per_second`, whose guest writes so many pages a second, ever new ones.
struct Source {
  SourceForecast forecast;
  Sample s{.wire_bytes_per_second = 1, .wire_bytes_per_page = 4096, .ram_pages = static_cast<std::uint64_t>(kPages)};
  CopyFacts facts{.data_pages = kPages, .first_left = kPages, .waiting = kPages};
  double bytes_per_second = 1e8;
  double pages_per_second = 100;
  std::vector<std::string> notes;

  explicit Source(const Goals& goals) : forecast(goals) {}

  void go_on(Duration time) {
    constexpr Duration kTick = 100ms;
    for (Duration t{}; t < time; t += kTick) {
      const double sent = bytes_per_second / 10 / 4096;
      s.elapsed += kTick;
      s.since_harvest += kTick;
      s.wire_bytes_per_second = bytes_per_second;
      facts.pages_sent += sent;
      facts.bytes_sent += sent * 4096;
      facts.first_left = std::max(0.0, facts.first_left - sent);
      facts.waiting = facts.first_left + 1000;
      if (s.since_harvest >= (s.harvests < 2 ? 200ms : 1s)) {
        s.last_interval = s.since_harvest;
        s.last_harvest =
            static_cast<std::uint64_t>(pages_per_second * std::chrono::duration<double>(s.last_interval).count());
        s.since_harvest = {};
        ++s.harvests;
      }
      forecast.look(s, facts);
      if (auto note = forecast.take_note()) notes.push_back(*note);
    }
  }
};

Goals with(Duration timeout, Duration max_downtime = 300ms) {
  Goals goals;
  goals.timeout = timeout;
  goals.max_downtime = max_downtime;
  return goals;
}

TEST(SourceForecast, SaysNothingOfAMoveThatFits) {
  Source source(with(1h));
  source.go_on(20s);
  EXPECT_TRUE(source.notes.empty()) << source.notes.front();
  ASSERT_TRUE(source.forecast.latest().has_value());
  // 4 GB at 100 MB/s take 41 s.
  const double left = std::chrono::duration<double>(*source.forecast.time_left(source.s.elapsed)).count();
  EXPECT_NEAR(left, 21, 3);
}

TEST(SourceForecast, KnowsNothingBeforeTwoHarvests) {
  Source source(with(1h));
  source.go_on(300ms);
  EXPECT_FALSE(source.forecast.latest().has_value());
  EXPECT_FALSE(source.forecast.time_left(source.s.elapsed).has_value());
}

TEST(SourceForecast, SaysEarlyAndOnceThatTheTimeIsTooShort) {
  Source source(with(10s));
  source.go_on(6s);
  ASSERT_EQ(source.notes.size(), 1u);
  EXPECT_NE(source.notes.front().find("at this rate it needs 4"), std::string::npos) << source.notes.front();
  EXPECT_NE(source.notes.front().find("--timeout is 10 s"), std::string::npos) << source.notes.front();
  source.go_on(3s);
  EXPECT_EQ(source.notes.size(), 1u) << source.notes.back();
}

TEST(SourceForecast, SaysThatTheGuestIsTooFastAndThatItFitsAgain) {
  Source source(with(1h, 50ms));
  source.pages_per_second = 50'000;
  source.go_on(8s);
  ASSERT_EQ(source.notes.size(), 1u);
  EXPECT_NE(source.notes.front().find("does not converge"), std::string::npos) << source.notes.front();
  EXPECT_FALSE(source.forecast.time_left(source.s.elapsed).has_value());
  source.pages_per_second = 10;
  source.go_on(60s);
  ASSERT_EQ(source.notes.size(), 2u);
  EXPECT_NE(source.notes.back().find("as it looks now, it fits"), std::string::npos) << source.notes.back();
}

TEST(SourceForecast, IsNotChangedByOneMoment) {
  Source source(with(1h));
  source.go_on(10s);
  source.bytes_per_second = 1e5;
  source.go_on(1s);
  source.bytes_per_second = 1e8;
  source.go_on(10s);
  EXPECT_TRUE(source.notes.empty()) << source.notes.front();
}

TEST(SourceForecast, SaysAgainWhatHasBecomeMuchLonger) {
  Source source(with(10s));
  source.go_on(5s);
  ASSERT_EQ(source.notes.size(), 1u);
  source.bytes_per_second = 1e7;
  source.go_on(12s);
  ASSERT_GE(source.notes.size(), 2u);
  EXPECT_NE(source.notes.back(), source.notes.front());
}

}  // namespace
}  // namespace godwit::source_forecast_test
