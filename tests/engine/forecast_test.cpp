// Forecasts against moves that are simulated page by page: of guests that are steady, bursty, change their phase or
// grow, and over a link whose rate drops.
#include "engine/forecast.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/page_by_page_move.h"

namespace godwit::forecast_test {
namespace {

using namespace std::chrono_literals;
using testing::always;
using testing::PageByPageGuest;
using testing::PageByPageMove;
using testing::WrittenArea;

constexpr double kMegabyte = 1e6;

double in_s(Duration d) {
  return std::chrono::duration<double>(d).count();
}

WrittenArea area(std::size_t first, double pages, double per_second) {
  return {first, always(pages), always(per_second), true};
}

struct Named {
  const char* name;
  PageByPageGuest guest;
};

std::vector<Named> steady_guests() {
  return {
      {"idle", {65536, {area(0, 100, 20)}, 1}},
      {"small and hot", {65536, {area(1000, 500, 20'000)}, 2}},
      {"hot, in turn", {65536, {{1000, always(4000), always(3000), false}}, 3}},
      {"wide", {65536, {area(0, 60'000, 2000)}, 4}},
      {"hot and wide", {65536, {area(100, 1500, 8000), area(5000, 50'000, 1500)}, 5}},
      {"half of memory", {65536, {area(0, 30'000, 6000)}, 6}},
  };
}

TEST(WriteCurve, TellsHotFromCold) {
  std::vector<WrittenPages> found;
  const auto truth = [](double t) { return 2000 * -std::expm1(-t / 0.2) + 500 * t; };
  for (const double t : {0.05, 0.1, 0.25, 0.5, 1.0, 2.0}) {
    found.push_back({std::chrono::duration_cast<Duration>(std::chrono::duration<double>(t)), truth(t), 1});
  }
  const auto curve = WriteCurve::fitted(found, 1e6);
  for (const double t : {0.05, 0.15, 0.7, 2.0, 4.0}) EXPECT_NEAR(curve.pages(t), truth(t), 0.15 * truth(t)) << t;
  EXPECT_NEAR(curve.deviation(found), 0, 0.1);
}

TEST(WriteCurve, OfOneIntervalGrowsLikeTheSquareRoot) {
  const std::vector<WrittenPages> found{{1s, 10'000, 1}, {1s, 10'000, 1}};
  const auto curve = WriteCurve::fitted(found, 1e7);
  EXPECT_NEAR(curve.pages(1), 10'000, 500);
  EXPECT_NEAR(curve.pages(0.1), 3162, 1200);
  EXPECT_NEAR(curve.pages(9), 30'000, 9000);
  const auto hot = WriteCurve::fitted(found, 1e7, Heat::kHot);
  const auto cold = WriteCurve::fitted(found, 1e7, Heat::kCold);
  EXPECT_GT(hot.pages(0.1), curve.pages(0.1));
  EXPECT_LT(hot.pages(9), curve.pages(9));
  EXPECT_LT(cold.pages(0.1), curve.pages(0.1));
  EXPECT_GT(cold.pages(9), curve.pages(9));
}

TEST(WriteCurve, IsNeverMoreThanThereIs) {
  const std::vector<WrittenPages> found{{1s, 900, 1}, {100ms, 700, 1}};
  const auto curve = WriteCurve::fitted(found, 1000);
  EXPECT_LE(curve.pages(1e6), 1001);
  EXPECT_LE(curve.with_more(5, 1000).pages(1e6), 1010);
}

TEST(WriteCurve, OfNothingIsNothing) {
  EXPECT_EQ(WriteCurve::fitted({}, 1000).pages(10), 0);
  const std::vector<WrittenPages> found{{1s, 0, 1}};
  EXPECT_EQ(WriteCurve::fitted(found, 1000).pages(10), 0);
}

TEST(Forecast, BeforeTheMoveIsRightOfSteadyGuests) {
  int runs = 0;
  int within = 0;
  int close = 0;
  std::string off;
  for (const auto& [name, guest] : steady_guests()) {
    for (const double rate : {25 * kMegabyte, 50 * kMegabyte, 100 * kMegabyte, 200 * kMegabyte, 800 * kMegabyte}) {
      PageByPageMove move(guest, always(rate));
      move.watch();
      Goals goals;
      goals.max_downtime = 100ms;
      goals.timeout = 300s;
      const Forecast forecast = make_forecast(move.input_before(rate), goals);
      const auto truth = move.run(goals);
      ++runs;
      const double point = forecast.total.point == Duration::max() ? 1e9 : in_s(forecast.total.point);
      const bool said_never = forecast.prospect == Prospect::kNever;
      const bool is_within =
          truth.switched ? in_s(forecast.total.low) <= truth.total &&
                               (forecast.total.high == Duration::max() || truth.total <= in_s(forecast.total.high))
                         : forecast.total.high == Duration::max();
      const bool is_close = truth.switched ? std::abs(point - truth.total) <= 0.2 * truth.total : said_never;
      within += is_within ? 1 : 0;
      close += is_close ? 1 : 0;
      if (!is_within || !is_close) {
        off += fmt::format("{} at {:.0f} MB/s: {:.2f} s, forecast {} {:.2f} ({:.2f} to {:.2f})\n", name,
                           rate / kMegabyte, truth.total, name_of(forecast.prospect), point, in_s(forecast.total.low),
                           in_s(forecast.total.high));
      }
    }
  }
  EXPECT_GE(within, runs * 9 / 10) << "of " << runs << "\n" << off;
  EXPECT_GE(close, runs * 8 / 10) << "of " << runs << "\n" << off;
}

/// Not where it first fits: what the guest leaves for its pause is hardly more than the least that it would have left
/// in the ten seconds after.
TEST(Switchover, ComesWhereTheLeastIsLeft) {
  std::vector<Named> guests = steady_guests();
  guests.push_back({"three heats", {65536, {area(0, 128, 2500), area(9000, 1024, 1000), area(30'000, 8192, 500)}, 7}});
  guests.push_back({"fresh pages", {65536, {{1000, always(40'000), always(3000), false}}, 8}});
  Goals goals;
  goals.max_downtime = 300ms;
  goals.timeout = 60s;
  for (const auto& [name, guest] : guests) {
    PageByPageMove move(guest, always(8192 * PageByPageMove::kPageBytes));
    const auto end = move.run(goals);
    ASSERT_TRUE(end.switched) << name;
    const double least = move.least_pause_within(10);
    EXPECT_LE(end.pause, 2 * least + 0.005) << name << " after " << end.total << " s";
  }
}

/// What forecasts said of a move while it went on, once a second.
struct Told {
  double at = 0;
  double fraction = 0;
  Forecast forecast;
};

struct Watched {
  PageByPageMove::End truth;
  std::vector<Told> told;
  /// Half of the time is over.
  const Told* half_way() const {
    const Told* best = nullptr;
    for (const auto& t : told) {
      if (best == nullptr || std::abs(t.at - truth.total / 2) < std::abs(best->at - truth.total / 2)) best = &t;
    }
    return best;
  }
};

Watched watch_move(const PageByPageGuest& guest, const std::function<double(double)>& rate, const Goals& goals) {
  PageByPageMove move(guest, rate);
  Watched out;
  out.truth = move.run(goals, [&](const ForecastInput& in, double fraction) {
    if (in.harvests < 2 || in.bytes_per_second.point <= 0) return;
    out.told.push_back({in_s(in.elapsed), fraction, make_forecast(in, goals)});
  });
  return out;
}

Goals within(Duration max_downtime, Duration timeout) {
  Goals goals;
  goals.max_downtime = max_downtime;
  goals.timeout = timeout;
  return goals;
}

std::function<double(double)> by_turns(double length, double one, double other) {
  return [=](double t) { return std::fmod(t, 2 * length) < length ? one : other; };
}

std::vector<Named> restless_guests() {
  return {
      {"bursty", {65536, {{0, always(20'000), by_turns(1.5, 6000, 0), true}}, 11}},
      {"two phases",
       {65536,
        {{0, always(3000), by_turns(4, 8000, 500), true}, {30'000, always(3000), by_turns(4, 500, 8000), true}},
        12}},
      {"growing", {65536, {{0, [](double t) { return 500 + 1000 * t; }, always(4000), true}}, 13}},
      {"steady", {65536, {area(0, 4000, 3000)}, 14}},
      {"calms down", {65536, {{0, always(20'000), [](double t) { return t < 5 ? 6000.0 : 300.0; }, true}}, 15}},
  };
}

TEST(Forecast, DuringTheMoveIsRightAtHalfTime) {
  int runs = 0;
  int held = 0;
  int close = 0;
  std::string off;
  auto guests = restless_guests();
  for (auto& steady : steady_guests()) guests.push_back(std::move(steady));
  for (const auto& [name, guest] : guests) {
    for (const double rate : {15 * kMegabyte, 25 * kMegabyte, 40 * kMegabyte}) {
      const Watched w = watch_move(guest, always(rate), within(200ms, 60s));
      const Told* half = w.half_way();
      if (!w.truth.switched || half == nullptr) continue;
      const double left = w.truth.total - half->at;
      const auto& told = half->forecast.left;
      const bool is_held = in_s(told.low) <= left && (told.high == Duration::max() || left <= in_s(told.high));
      const bool is_close = told.point != Duration::max() && std::abs(in_s(told.point) - left) <= 0.25 * left;
      ++runs;
      held += is_held ? 1 : 0;
      close += is_close ? 1 : 0;
      if (is_held && is_close) continue;
      off += fmt::format("{} at {:.0f} MB/s: {:.2f} s left of {:.2f}, forecast {} {:.2f} ({:.2f} to {:.2f})\n", name,
                         rate / kMegabyte, left, w.truth.total, name_of(half->forecast.prospect), in_s(told.point),
                         in_s(told.low), in_s(told.high));
    }
  }
  EXPECT_GE(runs, 24) << off;
  EXPECT_GE(held * 10, runs * 9) << held << " of " << runs << "\n" << off;
  // Some of these guests do what nobody could have known.
  EXPECT_GE(close * 10, runs * 7) << close << " of " << runs << "\n" << off;
}

TEST(Forecast, NoticesThatTheLinkDropsToATenth) {
  constexpr double kRate = 50 * kMegabyte;
  const Watched w = watch_move(
      {65536, {area(0, 500, 300)}, 21}, [](double t) { return t < 3 ? kRate : kRate / 10; }, within(300ms, 300s));
  ASSERT_TRUE(w.truth.switched);
  ASSERT_GT(w.truth.total, 20);
  const Told* before = nullptr;
  const Told* after = nullptr;
  for (const auto& t : w.told) {
    if (t.at < 3) before = &t;
    if (after == nullptr && t.at > 9) after = &t;
  }
  ASSERT_NE(before, nullptr);
  ASSERT_NE(after, nullptr);
  EXPECT_LT(in_s(before->forecast.total.point), 8);
  EXPECT_NEAR(in_s(after->forecast.total.point), w.truth.total, 0.25 * w.truth.total);
}

TEST(Forecast, SaysThatAGuestIsTooFastAndWhatHelps) {
  constexpr double kRate = 25 * kMegabyte;
  const PageByPageGuest guest{65536, {area(0, 3000, 20'000)}, 31};
  const Goals goals = within(50ms, 120s);
  PageByPageMove move(guest, always(kRate));
  move.watch();
  const auto input = move.input_before(kRate);
  const Forecast forecast = make_forecast(input, goals);
  EXPECT_EQ(forecast.prospect, Prospect::kNever);
  EXPECT_EQ(forecast.limit, LimitedBy::kGuestWrites);
  EXPECT_FALSE(move.run(goals).switched);

  const auto help = what_would_help(input, goals, forecast);
  ASSERT_TRUE(help.bytes_per_second && help.max_downtime && help.guest_speed);
  // Each by itself, a little beyond.
  EXPECT_TRUE(PageByPageMove(guest, always(*help.bytes_per_second * 1.2)).run(goals).switched)
      << *help.bytes_per_second;
  EXPECT_TRUE(PageByPageMove(guest, always(kRate)).run(within(*help.max_downtime * 6 / 5, 120s)).switched)
      << in_s(*help.max_downtime);
  const PageByPageGuest slower{65536, {area(0, 3000, 20'000 * *help.guest_speed / 1.2)}, 31};
  EXPECT_TRUE(PageByPageMove(slower, always(kRate)).run(goals).switched) << *help.guest_speed;
  // And not far short of it.
  EXPECT_FALSE(PageByPageMove(guest, always(*help.bytes_per_second / 2)).run(goals).switched);
  const std::string text = explain(forecast, help, goals);
  for (const char* part : {"does not converge", "a link of", "--max-downtime", "a guest slowed to"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(Forecast, SaysThatTheTimeIsTooShort) {
  PageByPageMove move({65536, {area(0, 200, 100)}, 41}, always(5 * kMegabyte));
  move.watch();
  const Goals goals = within(300ms, 20s);
  const auto input = move.input_before(5 * kMegabyte);
  const Forecast forecast = make_forecast(input, goals);
  EXPECT_EQ(forecast.prospect, Prospect::kTooLong);
  const auto help = what_would_help(input, goals, forecast);
  ASSERT_TRUE(help.bound.has_value());
  EXPECT_TRUE(move.run(within(300ms, *help.bound)).switched);
  const std::string text = explain(forecast, help, goals);
  EXPECT_NE(text.find("at this rate it needs 54"), std::string::npos) << text;
  EXPECT_NE(text.find("--timeout is 20 s"), std::string::npos) << text;
}

/// A guest that is too fast for the link, and what the operator allows.
struct TooFast {
  explicit TooFast(const Goals& goals) {
    PageByPageMove move({65536, {area(0, 3000, 20'000)}, 31}, always(25 * kMegabyte));
    move.watch();
    input = move.input_before(25 * kMegabyte);
    forecast = make_forecast(input, goals);
  }
  ForecastInput input;
  Forecast forecast;
};

TEST(Forecast, KnowsThatPostCopyEndsWhatDoesNotConverge) {
  Goals goals = within(50ms, 120s);
  goals.on_deadline = OnDeadline::kPostcopy;
  goals.deadline = 60s;
  const TooFast soon(goals);
  EXPECT_EQ(soon.forecast.prospect, Prospect::kConverges);
  EXPECT_GT(soon.forecast.total.point, 10s) << "all of memory goes by the link";
  EXPECT_LT(soon.forecast.total.point, 60s) << "it need not wait for the deadline";
  // In the midst of the first pass, and after it: the rest follows.
  goals.deadline = 3s;
  const TooFast late(goals);
  EXPECT_EQ(late.forecast.prospect, Prospect::kConverges);
  EXPECT_NEAR(in_s(late.forecast.total.point), 65536 * 4096 / (25 * kMegabyte), 1.5);
  EXPECT_LT(late.forecast.pause.point, 50ms);
  ForecastInput on_the_way = late.input;
  on_the_way.elapsed = 10s;
  EXPECT_NEAR(in_s(make_forecast(on_the_way, goals).total.point),
              10 + in_s(make_forecast(on_the_way, goals).left.point), 0.01);
}

TEST(Forecast, KnowsThatAGuestMayBeSlowedDown) {
  Goals goals = within(50ms, 120s);
  EXPECT_EQ(TooFast(goals).forecast.prospect, Prospect::kNever);
  goals.guest_slowdown = 0.9;
  const TooFast slowed(goals);
  EXPECT_TRUE(converges(slowed.forecast.prospect)) << name_of(slowed.forecast.prospect);
  EXPECT_LT(slowed.forecast.total.point, 120s);
}

TEST(Forecast, ComparesWithTheDeadlineAtWhichItIsCancelled) {
  PageByPageMove move({65536, {area(0, 200, 100)}, 41}, always(5 * kMegabyte));
  move.watch();
  Goals goals = within(300ms, 120s);
  const auto input = move.input_before(5 * kMegabyte);
  EXPECT_TRUE(converges(make_forecast(input, goals).prospect));
  goals.deadline = 20s;
  const Forecast forecast = make_forecast(input, goals);
  EXPECT_EQ(forecast.prospect, Prospect::kTooLong);
  const std::string text = explain(forecast, what_would_help(input, goals, forecast), goals);
  EXPECT_NE(text.find("--deadline is 20 s"), std::string::npos) << text;
}

TEST(Forecast, KnowsWhatLooksAndDevicesTake) {
  ForecastInput in;
  in.found = {{1s, 100, 1}};
  in.ram_pages = in.data_pages = in.first_left = 10'000;
  in.first_page_bytes = in.again_page_bytes = Estimate::exactly(4096);
  in.bytes_per_second = Estimate::exactly(100 * kMegabyte);
  const Goals goals = within(50ms, 60s);
  const Forecast plain = make_forecast(in, goals);
  in.device_pause_seconds = Estimate::exactly(0.2);
  in.device_bytes = 10'000'000;
  const Forecast heavy = make_forecast(in, goals);
  EXPECT_NEAR(in_s(heavy.pause.point - plain.pause.point), 0.29, 0.02);
  in.scan = 60ms;
  const Forecast slow_look = make_forecast(in, goals);
  EXPECT_EQ(slow_look.prospect, Prospect::kNever);
  EXPECT_EQ(slow_look.limit, LimitedBy::kLooks);
}

TEST(Forecast, KnowsThatEncodersMayBeWhatItWaitsFor) {
  ForecastInput in;
  in.ram_pages = in.data_pages = in.first_left = 100'000;
  in.first_page_bytes = in.again_page_bytes = Estimate::exactly(1000);
  in.bytes_per_second = Estimate::exactly(1000 * kMegabyte);
  in.first_page_seconds = in.again_page_seconds = Estimate::about(20e-6, 0.1);
  const Forecast forecast = make_forecast(in, {});
  EXPECT_EQ(forecast.limit, LimitedBy::kEncoding);
  EXPECT_NEAR(in_s(forecast.total.point), 2, 0.2);
  in.bytes_per_second = Estimate::exactly(10 * kMegabyte);
  EXPECT_EQ(make_forecast(in, {}).limit, LimitedBy::kLink);
  EXPECT_NEAR(in_s(make_forecast(in, {}).total.point), 10, 0.5);
}

TEST(Forecast, CountsBytes) {
  PageByPageMove move({65536, {area(0, 3000, 3000)}, 51}, always(50 * kMegabyte));
  move.watch();
  const Goals goals = within(100ms, 60s);
  const Forecast forecast = make_forecast(move.input_before(50 * kMegabyte), goals);
  const auto truth = move.run(goals);
  ASSERT_TRUE(truth.switched);
  EXPECT_NEAR(forecast.bytes.point, truth.bytes, 0.1 * truth.bytes);
  EXPECT_LE(forecast.bytes.low, truth.bytes);
  EXPECT_GE(forecast.bytes.high, truth.bytes);
}

}  // namespace
}  // namespace godwit::forecast_test
