#include "host/idle_cpus.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "base/small_files.h"

namespace godwit {

namespace {

/// The numbers of one line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal. What guests use is
/// counted under user, too.
constexpr std::size_t kTimes = 8;
constexpr std::size_t kIdle = 3;
constexpr std::size_t kWaitsForDisks = 4;

template <typename Number>
bool take_number(std::string_view& text, Number& number) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return error == std::errc();
}

}  // namespace

cpu_set_t cpus_beside(std::span<const pid_t> threads) noexcept {
  cpu_set_t ours;
  if (::sched_getaffinity(0, sizeof ours, &ours) != 0) CPU_ZERO(&ours);
  cpu_set_t left = ours;
  for (const pid_t thread : threads) {
    cpu_set_t theirs;
    if (::sched_getaffinity(thread, sizeof theirs, &theirs) != 0) continue;
    // One that may run wherever we may is pinned nowhere.
    cpu_set_t common;
    CPU_AND(&common, &ours, &theirs);
    if (CPU_EQUAL(&common, &ours)) continue;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &theirs)) CPU_CLR(cpu, &left);
    }
  }
  return CPU_COUNT(&left) == 0 ? ours : left;
}

IdleCpus::IdleCpus(const cpu_set_t& cpus, HostPaths paths) : cpus_(cpus), paths_(std::move(paths)) {}

std::vector<IdleCpus::Ticks> IdleCpus::ticks() const {
  std::vector<Ticks> found;
  const std::string text = read_small_file(paths_.proc + "/stat").value_or("");
  std::string_view rest = text;
  while (rest.starts_with("cpu")) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    line.remove_prefix(3);
    unsigned cpu = 0;
    if (line.starts_with(' ') || !take_number(line, cpu)) continue;  // the sum of all
    if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &cpus_)) continue;
    std::array<std::uint64_t, kTimes> times{};
    for (auto& time : times) take_number(line, time);
    Ticks& sum = found.emplace_back();
    sum.idle = times[kIdle] + times[kWaitsForDisks];
    for (const auto time : times) sum.all += time;
  }
  return found;
}

double IdleCpus::look(Instant now) {
  const auto ticks_before = std::exchange(ticks_, ticks());
  const auto groups_before = std::exchange(groups_, limiting_cpu_groups(paths_));
  const Instant before = std::exchange(looked_, now);
  if (ticks_before.size() != ticks_.size() || before == Instant{} || now <= before) return 0;

  double idle = 0;
  for (std::size_t i = 0; i < ticks_.size(); ++i) {
    // Counts of a CPU that was switched off go back now and then.
    if (ticks_[i].all <= ticks_before[i].all || ticks_[i].idle < ticks_before[i].idle) continue;
    idle += static_cast<double>(ticks_[i].idle - ticks_before[i].idle) /
            static_cast<double>(ticks_[i].all - ticks_before[i].all);
  }
  if (groups_before.size() != groups_.size()) return 0;
  const std::chrono::duration<double> time = now - before;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const std::chrono::duration<double> used = groups_[i].used - groups_before[i].used;
    idle = std::min(idle, std::max(0.0, groups_[i].quota - used / time));
  }
  return idle;
}

}  // namespace godwit
