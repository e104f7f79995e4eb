#include "throttle/writer_watch.h"

#include <fmt/format.h>

#include <charconv>
#include <sstream>
#include <utility>

#include "base/small_files.h"

namespace godwit {

namespace {
// A thread has some of its own: its stack, what it allocates.
constexpr std::uint64_t kFewFaultsAThread = 256;
constexpr std::uint64_t kLittle = 4;  // a quarter of the mean
// Of /proc/PID/task/TID/stat, counted from behind the name.
constexpr int kMinfltField = 8;
}  // namespace

WriterWatch::WriterWatch(pid_t qemu, std::string proc) : qemu_(qemu), proc_(std::move(proc)) {
  for (const auto& name : names_in(fmt::format("{}/{}/task", proc_, qemu_))) {
    pid_t thread = 0;
    std::from_chars(name.data(), name.data() + name.size(), thread);
    counted_[thread] = count(thread);
  }
}

/// 0 of one that has ended.
std::uint64_t WriterWatch::count(pid_t thread) const {
  const auto stat = read_small_file(fmt::format("{}/{}/task/{}/stat", proc_, qemu_, thread)).value_or("");
  const auto name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field;
  for (int i = 0; i < kMinfltField; ++i) fields >> field;
  std::uint64_t faults = 0;
  std::from_chars(field.data(), field.data() + field.size(), faults);
  return faults;
}

std::vector<pid_t> WriterWatch::writers(std::span<const pid_t> vcpu_threads) {
  std::vector<std::uint64_t> faults;
  std::uint64_t all = 0;
  for (const pid_t thread : vcpu_threads) {
    const std::uint64_t now = count(thread);
    // One that has come since has had all of its faults since.
    const std::uint64_t before = std::exchange(counted_[thread], now);
    faults.push_back(now > before ? now - before : 0);
    all += faults.back();
  }
  const std::uint64_t threads = vcpu_threads.size();
  std::vector<pid_t> found;
  for (std::size_t i = 0; i < threads; ++i) {
    const bool told = all >= kFewFaultsAThread * threads;
    if (!told || faults[i] * kLittle * threads >= all) found.push_back(vcpu_threads[i]);
  }
  return found;
}

}  // namespace godwit
