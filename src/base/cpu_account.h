// The CPU time of one job among others in the same process: that of the threads that it has started.
#pragma once

#include <time.h>

#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace godwit {

/// User and system time of the calling thread so far.
Duration thread_cpu_time() noexcept;

/// Any thread.
class CpuAccount {
 public:
  /// User and system time of all threads that are or were charged to it.
  Duration total() const;

 private:
  friend class ChargedTo;
  struct Running {
    clockid_t clock;
    Duration before;  ///< what it had used when it came
  };
  mutable std::mutex mutex_;
  std::vector<Running> running_;
  Duration ended_{};
};

/// From here to its end the calling thread is charged to this account, or to none.
class ChargedTo {
 public:
  explicit ChargedTo(std::shared_ptr<CpuAccount> account);
  ~ChargedTo();
  ChargedTo(const ChargedTo&) = delete;
  ChargedTo& operator=(const ChargedTo&) = delete;

 private:
  std::shared_ptr<CpuAccount> before_;
};

/// Which account the calling thread is charged to: null without one.
std::shared_ptr<CpuAccount> current_account() noexcept;

/// What the calling thread's job has used so far, all of its threads; without a job, what the process has.
Duration job_cpu_time();

/// A thread of the same job as the one that starts it.
template <typename Body>
std::jthread job_thread(Body body) {
  return std::jthread([account = current_account(), body = std::move(body)](const std::stop_token& stop) mutable {
    const ChargedTo charged(std::move(account));
    if constexpr (std::is_invocable_v<Body&, std::stop_token>) {
      body(stop);
    } else {
      body();
    }
  });
}

}  // namespace godwit
