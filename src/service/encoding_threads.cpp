#include "service/encoding_threads.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "base/cpu_account.h"

namespace godwit {

namespace {

// As long as the ticks in which the kernel counts tell apart what is idle on a few CPUs.
constexpr Duration kLookEvery = std::chrono::milliseconds(100);
constexpr double kLeftIdle = 0.5;
constexpr double kNothingIdle = 0.25;
constexpr unsigned kStep = 2;

unsigned most_threads(std::optional<unsigned> asked, unsigned lanes, const cpu_set_t& cpus) {
  if (asked) return *asked;
  const auto count = static_cast<unsigned>(std::max(CPU_COUNT(&cpus), 1));
  return count - std::min(count, lanes);
}

}  // namespace

unsigned next_encoding_threads(const EncoderPool::Use& use, unsigned most, double idle) noexcept {
  const unsigned now = std::min(use.allowed, most);
  if (idle < kNothingIdle) return now - std::min(now, now / 4 + 1);
  const double room = idle - kLeftIdle;
  // Threads without work say nothing about how many more there could be.
  if (room < 1 || use.at_work < now) return now;
  return std::min({most, now + kStep, now + static_cast<unsigned>(std::floor(room))});
}

EncodingThreads::EncodingThreads(std::optional<unsigned> most, unsigned lanes, std::span<const pid_t> vcpus,
                                 const Clock& clock)
    : clock_(clock), cpus_(cpus_beside(vcpus)), pool_(software_, most_threads(most, lanes, cpus_), [this] {
        (void)::sched_setaffinity(0, sizeof cpus_, &cpus_);
      }) {
  if (pool_.most() == 0) return;
  thread_ = job_thread([this](const std::stop_token& stop) { run(stop); });
}

void EncodingThreads::run(const std::stop_token& stop) {
  IdleCpus idle(cpus_);
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    pool_.allow(next_encoding_threads(pool_.use(), pool_.most(), idle.look(clock_.now())));
    stopped.wait_for(lock, stop, kLookEvery, [] { return false; });
  }
}

}  // namespace godwit
