#include "app/progress_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/units.h"

namespace godwit::progress_text_test {
namespace {

using namespace std::chrono_literals;

Progress copying() {
  Progress p;
  p.phase = Phase::kCopying;
  p.elapsed = 4200ms;
  p.ram_bytes = 4 * kGiB;
  p.pages_left = 314572;
  p.bytes_left = p.pages_left * 4096;
  p.bytes_sent = 500 * kMiB;
  p.pages_sent = 300000;
  p.send_bits_per_second = 955e6;
  p.dirty_pages_per_second = 3000;
  p.compression = 2.14;
  p.predicted_pause = 12ms;
  p.time_left = 72s;
  p.fraction = 0.428;
  return p;
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(ProgressBar, ShowsEverythingWhereThereIsRoom) {
  const std::string line = progress_bar(copying(), 160);
  for (const char* part : {"copying", " 42%", "[====", "1.2 GiB left", "(314572 pages)", "out 955 Mbit/s",
                           "dirty 11.7 MiB/s", "2.1x", "pause ~12 ms", "1.2 min to go"}) {
    expect_contains(line, part);
  }
}

TEST(ProgressBar, FitsEveryWidth) {
  Progress huge = copying();
  huge.pages_left = huge.bytes_left = std::numeric_limits<std::uint64_t>::max();
  huge.dirty_pages_per_second = 1e300;
  huge.compression = 1e9;
  for (unsigned width = 1; width < 200; ++width) {
    EXPECT_LE(progress_bar(copying(), width).size(), width);
    EXPECT_LE(progress_bar(huge, width).size(), width);
  }
}

TEST(ProgressBar, LeavesOutWhatMattersLeastFirst) {
  const std::string at_80 = progress_bar(copying(), 79);
  for (const char* part : {"copying", "42%", "1.2 GiB left", "out 955 Mbit/s", "1.2 min to go"}) {
    expect_contains(at_80, part);
  }
  EXPECT_EQ(at_80.find("2.1x"), std::string::npos) << at_80;
  const std::string at_20 = progress_bar(copying(), 20);
  expect_contains(at_20, "copying");
  expect_contains(at_20, "42%");
  EXPECT_EQ(progress_bar(copying(), 7), "copying");
}

TEST(ProgressBar, FillsWithTheFraction) {
  const auto filled = [](double fraction) {
    Progress p = copying();
    p.fraction = fraction;
    const std::string line = progress_bar(p, 200);
    EXPECT_EQ(line.find(']') - line.find('['), 31U);
    return std::count(line.begin(), line.end(), '=');
  };
  EXPECT_EQ(filled(0), 0);
  EXPECT_EQ(filled(0.5), 15);
  EXPECT_EQ(filled(1.0), 29) << "the bar is full when it is done, not before";
  EXPECT_EQ(filled(7.5), 29);
  EXPECT_EQ(filled(-1), 0);
  EXPECT_EQ(filled(std::nan("")), 0);
}

TEST(ProgressBar, SaysHundredPercentOfWhatIsDoneOnly) {
  Progress p = copying();
  p.fraction = 1;
  expect_contains(progress_bar(p, 100), "99%");
  p.phase = Phase::kDone;
  expect_contains(progress_bar(p, 100), "100%");
  expect_contains(progress_bar(p, 100), "sent 500 MiB in 4.2 s");
}

TEST(ProgressBar, NamesOnlyThePhaseBeforeThereAreNumbers) {
  Progress p;
  p.elapsed = 1500ms;
  EXPECT_EQ(progress_bar(p, 80), "connecting  1.5 s");
  EXPECT_EQ(progress_line(p), "connecting  1.5 s");
}

TEST(ProgressBar, LeavesOutWhatCannotBeTold) {
  Progress p = copying();
  p.predicted_pause.reset();
  p.time_left.reset();
  p.compression = 0;
  const std::string line = progress_bar(p, 200);
  EXPECT_EQ(line.find("0.0x"), std::string::npos);
  EXPECT_EQ(line.find("pause"), std::string::npos);
  EXPECT_EQ(line.find("to go"), std::string::npos);
}

TEST(ProgressLine, IsTheSameWithoutABar) {
  const std::string line = progress_line(copying());
  expect_contains(line, "1.2 GiB left");
  EXPECT_EQ(line.find('['), std::string::npos);
  EXPECT_EQ(line.find('\n'), std::string::npos);
}

TEST(ProgressJson, HasEveryKeyWithItsUnit) {
  const std::string line = progress_json(copying());
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json.size(), 20U);
  EXPECT_TRUE(json.at("encoding_device").is_null());
  EXPECT_TRUE(json.at("security").is_null());
  EXPECT_TRUE(json.at("id").is_null());
  Progress named = copying();
  named.id = "3f2a9c01d4e7";
  EXPECT_EQ(nlohmann::json::parse(progress_json(named)).at("id"), "3f2a9c01d4e7");
  EXPECT_TRUE(json.at("trouble").is_null());
  EXPECT_EQ(json.at("type"), "progress");
  EXPECT_EQ(json.at("phase"), "copying");
  EXPECT_EQ(json.at("elapsed_us"), 4'200'000);
  EXPECT_EQ(json.at("ram_bytes"), 4 * kGiB);
  EXPECT_EQ(json.at("pages_left"), 314572);
  EXPECT_EQ(json.at("bytes_left"), 314572 * 4096);
  EXPECT_EQ(json.at("bytes_sent"), 500 * kMiB);
  EXPECT_EQ(json.at("pages_sent"), 300000);
  EXPECT_DOUBLE_EQ(json.at("send_bits_per_second"), 955e6);
  EXPECT_DOUBLE_EQ(json.at("dirty_pages_per_second"), 3000);
  EXPECT_DOUBLE_EQ(json.at("compression_ratio"), 2.14);
  EXPECT_EQ(json.at("predicted_pause_us"), 12'000);
  EXPECT_EQ(json.at("time_left_us"), 72'000'000);
  EXPECT_TRUE(json.at("forecast").is_null());
  EXPECT_DOUBLE_EQ(json.at("fraction"), 0.428);
}

TEST(ProgressLine, SaysThatItDoesNotConvergeInsteadOfATime) {
  Progress p = copying();
  p.time_left.reset();
  p.trouble = "it does not converge so far: the guest writes 390 MiB/s";
  EXPECT_NE(progress_line(p).find("does not converge"), std::string::npos);
  EXPECT_EQ(progress_line(p).find("to go"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(progress_json(p)).at("trouble"), p.trouble);
}

TEST(ProgressJson, HasNullForWhatCannotBeTold) {
  Progress p = copying();
  p.predicted_pause.reset();
  p.time_left.reset();
  p.compression = std::numeric_limits<double>::infinity();
  p.fraction = 1.5;
  const auto json = nlohmann::json::parse(progress_json(p));
  EXPECT_TRUE(json.at("predicted_pause_us").is_null());
  EXPECT_TRUE(json.at("time_left_us").is_null());
  EXPECT_TRUE(json.at("compression_ratio").is_null());
  EXPECT_DOUBLE_EQ(json.at("fraction"), 1.0);
}

}  // namespace
}  // namespace godwit::progress_text_test
