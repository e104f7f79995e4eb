// Clocks and timers.
#include <fcntl.h>
#include <linux/rtc.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cstdint>
#include <fstream>

#include "commands.h"

namespace godwit::guest {
namespace {

constexpr const char* kClockSource = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
constexpr std::uint64_t kSecond = 1'000'000'000;

std::uint64_t nanoseconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t seconds_of(const rtc_time& time) {
  tm broken{};
  broken.tm_sec = time.tm_sec;
  broken.tm_min = time.tm_min;
  broken.tm_hour = time.tm_hour;
  broken.tm_mday = time.tm_mday;
  broken.tm_mon = time.tm_mon;
  broken.tm_year = time.tm_year;
  return static_cast<std::uint64_t>(::timegm(&broken));
}

}  // namespace

std::string clocks(std::istringstream&) {
  rtc_time time{};
  const int rtc = ::open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
  if (rtc < 0 || ::ioctl(rtc, RTC_RD_TIME, &time) != 0) return os_error("/dev/rtc0");
  ::close(rtc);
  std::ostringstream out;
  out << "ok monotonic=" << nanoseconds(CLOCK_MONOTONIC) << " boottime=" << nanoseconds(CLOCK_BOOTTIME)
      << " realtime=" << nanoseconds(CLOCK_REALTIME) << " rtc=" << seconds_of(time) << " tsc=" << __rdtsc();
  std::string source;
  std::ifstream(kClockSource) >> source;
  out << " source=" << source;
  return out.str();
}

std::string clock_source(std::istringstream& line) {
  std::string wanted, now;
  line >> wanted;
  std::ofstream(kClockSource) << wanted << std::flush;
  std::ifstream(kClockSource) >> now;
  return now == wanted ? "ok" : "error: the clock source is " + now;
}

/// The clock's interrupts, once a second.
std::string rtc_ticks(std::istringstream& line) {
  int wanted = 1;
  line >> wanted;
  const int rtc = ::open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
  if (rtc < 0 || ::ioctl(rtc, RTC_UIE_ON, 0) != 0) return os_error("/dev/rtc0");
  int seen = 0;
  for (; seen < wanted; ++seen) {
    pollfd waiting{rtc, POLLIN, 0};
    unsigned long data = 0;
    if (::poll(&waiting, 1, 20000) <= 0 || ::read(rtc, &data, sizeof(data)) != sizeof(data)) break;
  }
  ::ioctl(rtc, RTC_UIE_OFF, 0);
  ::close(rtc);
  return seen == wanted ? "ok" : "error: the RTC ticked " + std::to_string(seen) + " times";
}

/// How long a sleep of so many milliseconds took, by the monotonic clock.
std::string nap(std::istringstream& line) {
  long milliseconds = 0;
  line >> milliseconds;
  const std::uint64_t before = nanoseconds(CLOCK_MONOTONIC);
  const timespec wanted{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  ::clock_nanosleep(CLOCK_MONOTONIC, 0, &wanted, nullptr);
  return "ok " + std::to_string((nanoseconds(CLOCK_MONOTONIC) - before) / 1'000'000);
}

}  // namespace godwit::guest
