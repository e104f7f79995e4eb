#include "base/cpu_account.h"

#include <pthread.h>

#include <algorithm>

namespace godwit {

namespace {

thread_local std::shared_ptr<CpuAccount> current;

Duration time_of(clockid_t clock) noexcept {
  timespec time{};
  ::clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

Duration process_cpu_time() noexcept {
  return time_of(CLOCK_PROCESS_CPUTIME_ID);
}

}  // namespace

Duration thread_cpu_time() noexcept {
  return time_of(CLOCK_THREAD_CPUTIME_ID);
}

Duration CpuAccount::total() const {
  const std::lock_guard lock(mutex_);
  Duration sum = ended_;
  // A thread takes itself off under the lock: each clock here is that of a thread that has not ended.
  for (const Running& thread : running_) sum += time_of(thread.clock) - thread.before;
  return sum;
}

ChargedTo::ChargedTo(std::shared_ptr<CpuAccount> account) : before_(std::exchange(current, std::move(account))) {
  if (!current) return;
  clockid_t clock{};
  ::pthread_getcpuclockid(::pthread_self(), &clock);
  const std::lock_guard lock(current->mutex_);
  current->running_.push_back({clock, thread_cpu_time()});
}

ChargedTo::~ChargedTo() {
  if (current) {
    clockid_t clock{};
    ::pthread_getcpuclockid(::pthread_self(), &clock);
    const std::lock_guard lock(current->mutex_);
    // The latest of this thread's, should it have been charged to the same account before.
    const auto mine =
        std::ranges::find(current->running_.rbegin(), current->running_.rend(), clock, &CpuAccount::Running::clock);
    current->ended_ += thread_cpu_time() - mine->before;
    current->running_.erase(std::next(mine).base());
  }
  current = std::move(before_);
}

std::shared_ptr<CpuAccount> current_account() noexcept {
  return current;
}

Duration job_cpu_time() {
  return current ? current->total() : process_cpu_time();
}

}  // namespace godwit
