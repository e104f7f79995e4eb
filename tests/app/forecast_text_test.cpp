#include "app/forecast_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/forecast_json.h"

namespace godwit::forecast_text_test {
namespace {

using namespace std::chrono_literals;

ForecastAnswer answer() {
  ForecastAnswer a;
  a.vm.name = "web\x1b[2J1";
  a.vm.ram_bytes = 4ull << 30;
  a.vm.data_bytes = 1ull << 30;
  a.vm.devices = "direct";
  a.vm.input.first_page_bytes = {1500, 1600, 1700};
  a.forecast = {.prospect = Prospect::kConverges,
                .limit = LimitedBy::kLink,
                .total = {4s, 5s, 7s},
                .left = {4s, 5s, 7s},
                .pause = {10ms, 20ms, 40ms},
                .bytes = {4e8, 5e8, 6e8}};
  return a;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(ForecastText, SaysWhatWillBeWithIntervals) {
  const std::string text = forecast_text(answer());
  for (const char* part : {"converges       yes", "5 s (4 s to 7 s)", "20 ms (10 ms to 40 ms)", "limited by      the link",
                           "4 GiB, of which 1 GiB would be copied", "477 MiB (381 MiB to 572 MiB)"}) {
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  }
  EXPECT_FALSE(has(text, "\x1b")) << "a guest's name must not reach the terminal as it is";
}

TEST(ForecastText, SaysWhyNotAndWhatWouldHelp) {
  auto a = answer();
  a.forecast.prospect = Prospect::kNever;
  a.forecast.limit = LimitedBy::kGuestWrites;
  a.forecast.total.point = a.forecast.total.high = Duration::max();
  a.help.bytes_per_second = 4e8;
  a.help.max_downtime = 140ms;
  a.help.guest_speed = 0.4;
  const std::string text = forecast_text(a);
  for (const char* part :
       {"no end in sight", "a link of 3.2 Gbit/s, or --max-downtime 140 ms, or a guest slowed to 40 %",
        "pause, at least"}) {
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  }
}

TEST(ForecastText, SaysThatThePauseIsLongerThanAskedFor) {
  auto a = answer();
  EXPECT_FALSE(has(forecast_text(a), "longer than --max-downtime"));
  a.goals.max_downtime = 15ms;
  EXPECT_TRUE(has(forecast_text(a), "longer than --max-downtime 15 ms")) << forecast_text(a);
}

TEST(ForecastText, OfAnIntervalWithoutAnEnd) {
  EXPECT_EQ(interval_text({4s, 5s, Duration::max()}), "5 s (4 s or more, perhaps without an end)");
}

TEST(ForecastJson, HasNullWhereThereIsNoEnd) {
  auto a = answer();
  auto json = nlohmann::json::parse(forecast_json(a));
  EXPECT_EQ(json["type"], "forecast");
  EXPECT_EQ(json["prospect"], "converges");
  EXPECT_EQ(json["converges"], true);
  EXPECT_EQ(json["total_us"]["point"], 5'000'000);
  EXPECT_EQ(json["bytes"]["high"], 600'000'000);
  EXPECT_TRUE(json["would_help"]["bits_per_second"].is_null());
  EXPECT_EQ(json["explanation"], "");
  a.forecast.total.high = Duration::max();
  a.help.bytes_per_second = 1e6;
  json = nlohmann::json::parse(forecast_json(a));
  EXPECT_TRUE(json["total_us"]["high"].is_null());
  EXPECT_EQ(json["would_help"]["bits_per_second"], 8'000'000);
}

TEST(ForecastJson, OfProgressIsNullWithoutAForecast) {
  EXPECT_EQ(forecast_object(std::nullopt), "null");
  EXPECT_EQ(nlohmann::json::parse(forecast_object(answer().forecast))["limited_by"], "link");
}

}  // namespace
}  // namespace godwit::forecast_text_test
