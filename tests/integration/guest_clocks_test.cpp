// A guest's clocks across a move: how far each went on between a question before it and one after it, beside the host's
// clock. Moved by QEMU itself, by Godwit directly and by the stream, in turn: Godwit's ways must be like QEMU's own.
//
// A guest's monotonic clock is QEMU's virtual clock, which does not run while the guest is paused; so it falls behind
// the host's by the pause. Under emulation on a busy host it also falls behind for other reasons, which all have alike.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>

#include "tests/integration/device_guest.h"

namespace godwit::testing {
namespace {

using std::chrono::steady_clock;

constexpr double kNanoseconds = 1e-9;
// What a busy host may add: more than it ever was, and less than the time between the questions.
constexpr double kMargin = 2;
constexpr seconds kBesidesTheMove{3};
// What a guest may gain by timers that are rounded, and by an RTC that tells whole seconds.
constexpr double kGain = 0.5;
constexpr double kRtcStep = 1;

double number_in(const std::string& answer, const std::string& name) {
  const auto at = (" " + answer).find(" " + name + "=");
  return at == std::string::npos ? 0 : std::strtod(answer.c_str() + at + name.size() + 1, nullptr);
}

/// Seconds each, and the TSC's ticks.
struct Clocks {
  double monotonic = 0, boottime = 0, realtime = 0, rtc = 0, tsc = 0;
  steady_clock::time_point asked, answered;  ///< by the host's clock

  static Result<Clocks> of(DeviceGuest& guest) {
    Clocks clocks;
    clocks.asked = steady_clock::now();
    const std::string answer = TRY(guest.ask("clocks"));
    clocks.answered = steady_clock::now();
    clocks.monotonic = number_in(answer, "monotonic") * kNanoseconds;
    clocks.boottime = number_in(answer, "boottime") * kNanoseconds;
    clocks.realtime = number_in(answer, "realtime") * kNanoseconds;
    clocks.rtc = number_in(answer, "rtc");
    clocks.tsc = number_in(answer, "tsc");
    return clocks;
  }
};

double seconds_between(steady_clock::time_point from, steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// How far each clock went on.
struct Advance {
  double least = 0, most = 0;  ///< the host's: between the questions at least, and at most
  double monotonic = 0, boottime = 0, realtime = 0, rtc = 0, tsc = 0;

  static Advance between(const Clocks& before, const Clocks& after) {
    return {seconds_between(before.answered, after.asked),
            seconds_between(before.asked, after.answered),
            after.monotonic - before.monotonic,
            after.boottime - before.boottime,
            after.realtime - before.realtime,
            after.rtc - before.rtc,
            after.tsc - before.tsc};
  }
  /// By which the guest's monotonic clock has fallen behind the host's at least.
  double lag() const { return least - monotonic; }
};

class GuestClocksLong : public ::testing::TestWithParam<QemuVersion> {};

TEST_P(GuestClocksLong, GoOnAsAfterQemusOwnMigration) {
  DeviceGuestOptions options;
  options.qemu.version = GetParam();
  options.qemu.ram = Ram::kPrivate;
  ASSIGN_OR_SKIP(guest, DeviceGuest::start(options));
  ASSERT_OK(guest->wait_until_ready());

  std::map<std::string, double> worst;
  std::cout << "seconds: way, the host's clock, how far the guest's went on: monotonic, boot time, real time, RTC; TSC "
               "in 10^9 ticks; lag\n";
  for (const std::string way : {"none", "qemu", "direct", "stream", "qemu", "direct", "stream"}) {
    SCOPED_TRACE(way);
    ASSIGN_OR_FAIL(before, Clocks::of(*guest));
    nap(kBesidesTheMove);
    if (way == "qemu") {
      ASSERT_OK(guest->move_by_qemu());
    } else if (way != "none") {
      ASSERT_OK(guest->move(way));
    }
    ASSIGN_OR_FAIL(after, Clocks::of(*guest));
    const Advance gone = Advance::between(before, after);
    std::cout << fmt::format("  {:<7} {:7.3f} {:7.3f} {:7.3f} {:7.3f} {:4.0f} {:8.3f} {:7.3f}\n", way, gone.most,
                             gone.monotonic, gone.boottime, gone.realtime, gone.rtc, gone.tsc * kNanoseconds,
                             gone.lag());
    // No clock goes back, none runs ahead of the host's.
    for (const auto& [name, seconds] : {std::pair{"monotonic", gone.monotonic}, std::pair{"boot time", gone.boottime},
                                        std::pair{"real time", gone.realtime}}) {
      EXPECT_GT(seconds, 0) << name;
      EXPECT_LT(seconds, gone.most + kGain) << name;
    }
    // They are one clock for a guest that nobody suspends.
    EXPECT_NEAR(gone.boottime, gone.monotonic, kGain);
    EXPECT_NEAR(gone.realtime, gone.monotonic, kGain);
    EXPECT_GT(gone.tsc, 0);
    // The RTC is the host's: it does not fall behind at all.
    EXPECT_GE(gone.rtc, gone.least - kRtcStep - kMargin);
    EXPECT_LE(gone.rtc, gone.most + kRtcStep + kGain);
    worst[way] = std::max(worst.contains(way) ? worst[way] : 0, gone.lag());
  }
  for (const char* way : {"direct", "stream"}) {
    EXPECT_LT(worst[way], worst["qemu"] + kMargin)
        << way << " lets the guest's clocks fall behind more than QEMU's own";
  }
}

INSTANTIATE_TEST_SUITE_P(All, GuestClocksLong, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "With7" : "With10"; });

}  // namespace
}  // namespace godwit::testing
