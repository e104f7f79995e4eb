// Threads of another process, stopped by ptrace for a part of each period.
//
//   runs                       stopped                          runs
//   ------|SEIZE, INTERRUPT---------------------------DETACH|------------
//         '-- 1/share - 1 times as long as it ran --'
//
// ptrace belongs to a thread: one of ours does all of it, and the kernel lets everything go when that thread, or this
// process, ends. Between two stops the threads are not traced at all: signals, and whoever else wants to trace them,
// find them as ever. A signal that arrives at the moment of the stop is handed on with the detach. A thread that sleeps
// and has used less than its share is left alone.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace godwit {

class StopAndGo {
 public:
  /// Why not; empty if it is possible. Stops nothing.
  static std::string why_not(pid_t process, const std::vector<pid_t>& threads);

  StopAndGo(pid_t process, std::vector<pid_t> threads);
  /// Returns when no thread is stopped by us any more.
  ~StopAndGo();
  StopAndGo(const StopAndGo&) = delete;
  StopAndGo& operator=(const StopAndGo&) = delete;

  /// (0, 1]; 1 stops nothing. Fails with what has prevented the last round.
  Status set(double share);
  void follow(std::vector<pid_t> threads);

 private:
  struct Thread {
    pid_t id = 0;
    bool seized = false;
    std::optional<std::uint64_t> ran_before;  ///< nanoseconds on a CPU, at the last look
    Instant looked{};
  };
  void run();
  /// False when it is to end, or nothing is to be stopped any more.
  bool wait_for(Duration time);
  void take_over_threads();
  void stop_threads(double share);
  void let_go();
  void stop_one(Thread& thread);
  bool any_seized() const;
  /// True if it is not ours any more.
  bool let_go_of(Thread& thread) const;
  bool needs_no_stop(Thread& thread, double share) const;
  void note(Status status);

  const pid_t process_;
  std::vector<Thread> threads_;  ///< our thread's alone
  std::mutex mutex_;             ///< guards what follows
  std::condition_variable changed_;
  double share_ = 1;
  bool ends_ = false;
  std::optional<std::vector<pid_t>> wanted_;
  Status last_round_;
  std::thread worker_;
};

}  // namespace godwit
