#include "app/progress_view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/units.h"
#include "tests/support/manual_clock.h"

namespace godwit::progress_view_test {
namespace {

using namespace std::chrono_literals;
using testing::ManualClock;

struct Screen {
  std::string out;
  std::string err;
  unsigned columns = 80;

  ViewOutputs outputs(bool terminal) {
    return {[this](std::string_view text) { out += text; }, [this](std::string_view text) { err += text; }, terminal,
            [this] { return columns; }};
  }
};

Progress copying(double fraction) {
  Progress p;
  p.phase = Phase::kCopying;
  p.ram_bytes = kGiB;
  p.fraction = fraction;
  return p;
}

std::ptrdiff_t lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

/// What a terminal shows: "\r\x1b[K" empties the line.
std::vector<std::string> on_terminal(const std::string& text) {
  std::vector<std::string> rows{""};
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.compare(i, 4, "\r\x1b[K") == 0) {
      rows.back().clear();
      i += 3;
    } else if (text[i] == '\n') {
      rows.emplace_back();
    } else {
      rows.back() += text[i];
    }
  }
  return rows;
}

TEST(ProgressView, DrawsTheBarOnOneLineAndLeavesItClean) {
  Screen screen;
  const ManualClock clock;
  {
    ProgressView view(ProgressMode::kAuto, screen.outputs(true), clock);
    view.show(copying(0.1));
    view.show(copying(0.5));
    EXPECT_EQ(on_terminal(screen.err).size(), 1U);
    view.finish();
    view.finish();
  }
  const auto rows = on_terminal(screen.err);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_NE(rows[0].find("50%"), std::string::npos) << rows[0];
  EXPECT_LT(rows[0].size(), 80U);
  EXPECT_EQ(rows[1], "");
  EXPECT_EQ(screen.out, "");
}

TEST(ProgressView, KeepsToAWindowThatShrinks) {
  Screen screen;
  const ManualClock clock;
  ProgressView view(ProgressMode::kBar, screen.outputs(true), clock);
  view.show(copying(0.1));
  for (const unsigned columns : {40U, 20U, 3U, 1U, 0U}) {
    screen.columns = columns;
    view.show(copying(0.1));
    EXPECT_LT(on_terminal(screen.err).back().size(), std::max(columns, 2U)) << columns;
  }
}

TEST(ProgressView, NeverRunsBackwards) {
  Screen screen;
  const ManualClock clock;
  ProgressView view(ProgressMode::kBar, screen.outputs(true), clock);
  view.show(copying(0.6));
  view.show(copying(0.2));
  EXPECT_NE(on_terminal(screen.err).back().find("60%"), std::string::npos) << screen.err;
}

TEST(ProgressView, PutsNotesAboveTheBar) {
  Screen screen;
  const ManualClock clock;
  ProgressView view(ProgressMode::kBar, screen.outputs(true), clock);
  view.note("before");
  view.show(copying(0.1));
  view.note("a connection was turned away\x1b[2J");
  const auto rows = on_terminal(screen.err);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0], "before");
  EXPECT_EQ(rows[1], "a connection was turned away?[2J");
  EXPECT_NE(rows[2].find("copying"), std::string::npos);
}

TEST(ProgressView, SaysWhatIsWrongOnceAMinute) {
  for (const bool terminal : {true, false}) {
    Screen screen;
    ManualClock clock;
    ProgressView view(ProgressMode::kAuto, screen.outputs(terminal), clock);
    Progress p = copying(0.95);
    const auto times_said = [&] {
      std::ptrdiff_t times = 0;
      for (auto at = screen.err.find("the guest writes"); at != std::string::npos;
           at = screen.err.find("the guest writes", at + 1)) {
        ++times;
      }
      return times;
    };
    view.show(p);
    EXPECT_EQ(times_said(), 0);
    p.trouble = "it does not converge so far: the guest writes 390 MiB/s";
    for (int i = 0; i < 590; ++i) {
      view.show(p);
      clock.advance(100ms);
    }
    EXPECT_EQ(times_said(), 1);
    for (int i = 0; i < 20; ++i) {
      view.show(p);
      clock.advance(100ms);
    }
    EXPECT_EQ(times_said(), 2);
  }
}

TEST(ProgressView, WritesALineEveryFewSecondsWithoutATerminal) {
  Screen screen;
  ManualClock clock;
  ProgressView view(ProgressMode::kAuto, screen.outputs(false), clock);
  for (int i = 0; i < 100; ++i) {
    view.show(copying(0.1));
    clock.advance(100ms);
  }
  EXPECT_EQ(lines(screen.err), 2);
  Progress paused = copying(0.9);
  paused.phase = Phase::kPaused;
  view.show(paused);
  EXPECT_EQ(lines(screen.err), 3) << "a new phase is told at once";
  EXPECT_EQ(screen.err.find('\r'), std::string::npos);
  EXPECT_EQ(screen.err.find('\x1b'), std::string::npos);
}

TEST(ProgressView, WritesJsonLinesOnStdout) {
  Screen screen;
  const ManualClock clock;
  {
    ProgressView view(ProgressMode::kJson, screen.outputs(true), clock);
    const OnProgress on_progress = view.on_progress();
    on_progress(copying(0.1));
    on_progress(copying(0.2));
  }
  EXPECT_EQ(screen.err, "");
  ASSERT_EQ(lines(screen.out), 2);
  std::istringstream in(screen.out);
  for (std::string line; std::getline(in, line);) EXPECT_EQ(nlohmann::json::parse(line).at("phase"), "copying");
}

TEST(ProgressView, StaysSilentWhenAskedTo) {
  Screen screen;
  const ManualClock clock;
  ProgressView view(ProgressMode::kNone, screen.outputs(true), clock);
  view.show(copying(0.1));
  view.finish();
  EXPECT_EQ(screen.out + screen.err, "");
  view.note("but says what matters");
  EXPECT_EQ(screen.err, "but says what matters\n");
}

}  // namespace
}  // namespace godwit::progress_view_test
