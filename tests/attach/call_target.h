// A process to make calls in: its main thread does one thing over and over and notices any disturbance; two more
// threads keep it company.
#pragma once

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>

#include "tests/attach/forked_process.h"
#include "tests/attach/register_trial.h"

namespace godwit::testing {

enum class Pastime { kSpin, kPpoll, kPoll, kFutex, kNanosleep, kRead, kEpollWait };
inline constexpr Pastime kPastimes[] = {Pastime::kSpin,      Pastime::kPpoll, Pastime::kPoll,     Pastime::kFutex,
                                        Pastime::kNanosleep, Pastime::kRead,  Pastime::kEpollWait};

inline std::string name_of(Pastime pastime) {
  constexpr const char* kNames[] = {"spin", "ppoll", "poll", "futex", "nanosleep", "read", "epoll_wait"};
  return kNames[static_cast<int>(pastime)];
}

constexpr std::int64_t kNothingStrange = -1'000'000;

struct TargetState {
  std::atomic<std::uint64_t> rounds{0};        // of the main thread
  std::atomic<std::uint64_t> other_rounds{0};  // of the others
  std::atomic<std::uint64_t> interrupted{0};   // rounds that ended with EINTR
  std::atomic<const char*> disturbed{nullptr};
  std::atomic<std::int64_t> strange_return{kNothingStrange};
  std::atomic<std::uint64_t> signals{0};
};

class CallTarget {
 public:
  explicit CallTarget(Pastime pastime) : process_([this, pastime] { run(pastime); }) {
    // Up and in its loop.
    eventually([&] { return state_->rounds > 0; });
  }

  pid_t pid() const { return process_.pid(); }
  ForkedProcess& process() { return process_; }
  TargetState& state() { return *state_; }

  /// Two more rounds of everybody, so that what happened before has had its effect. Empty if all is well.
  std::string complaint() {
    const auto rounds = state_->rounds.load();
    const auto others = state_->other_rounds.load();
    if (!eventually([&] { return state_->rounds >= rounds + 2 && state_->other_rounds >= others + 2; })) {
      return "it does not go on";
    }
    if (const char* what = state_->disturbed) return std::string("disturbed: ") + what;
    if (state_->strange_return != kNothingStrange) return "a call returned " + std::to_string(state_->strange_return);
    return "";
  }

 private:
  /// The system call of the pastime. Each ends by itself, by timeout or by data that another thread sends.
  static RegisterTrial trial_of(Pastime pastime, int read_end, int epoll, std::uint32_t* word, timespec* time) {
    RegisterTrial trial;
    const auto at = [](const void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); };
    *time = {0, 3'000'000};
    static char buffer[16];
    static epoll_event event;
    switch (pastime) {
      case Pastime::kSpin:
        trial.number = -1;
        trial.spins = 1'000'000;
        break;
      case Pastime::kPpoll:
        trial.number = SYS_ppoll;
        trial.arguments[2] = at(time);
        break;
      case Pastime::kPoll:
        trial.number = SYS_poll;
        trial.arguments[2] = 3;
        break;
      case Pastime::kFutex:
        trial.number = SYS_futex;
        trial.arguments[0] = at(word);
        trial.arguments[1] = FUTEX_WAIT_PRIVATE;
        trial.arguments[3] = at(time);
        break;
      case Pastime::kNanosleep:
        trial.number = SYS_nanosleep;
        trial.arguments[0] = at(time);
        break;
      case Pastime::kRead:
        trial.number = SYS_read;
        trial.arguments[0] = static_cast<std::uint64_t>(read_end);
        trial.arguments[1] = at(buffer);
        trial.arguments[2] = 1;
        break;
      case Pastime::kEpollWait:
        trial.number = SYS_epoll_wait;
        trial.arguments[0] = static_cast<std::uint64_t>(epoll);
        trial.arguments[1] = at(&event);
        trial.arguments[2] = 1;
        trial.arguments[3] = 3;
        break;
    }
    return trial;
  }

  static bool expected(Pastime pastime, std::int64_t returned) {
    if (returned == -EINTR) return pastime != Pastime::kSpin && pastime != Pastime::kRead;
    switch (pastime) {
      case Pastime::kSpin:
        return true;
      case Pastime::kFutex:
        return returned == -ETIMEDOUT;
      case Pastime::kRead:
        return returned == 1;
      default:
        return returned == 0;
    }
  }

  void run(Pastime pastime) {
    sigset_t mask, seen;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGRTMIN + 3);
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    int pipe_ends[2];
    if (::pipe(pipe_ends) != 0) ::_exit(98);
    const int epoll = ::epoll_create1(0);
    std::thread company([&] {
      while (true) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (pastime == Pastime::kRead && state_->other_rounds % 3 == 0 && ::write(pipe_ends[1], "x", 1) != 1) return;
        ++state_->other_rounds;
      }
    });
    company.detach();
    std::uint32_t word = 0;
    timespec time{};
    RegisterTrial trial = trial_of(pastime, pipe_ends[0], epoll, &word, &time);
    for (unsigned round = 0;; ++round) {
      time = {0, 3'000'000};
      if (const char* what = disturbed_by(trial, round)) state_->disturbed = what;
      if (!expected(pastime, trial.returned)) state_->strange_return = trial.returned;
      if (trial.returned == -EINTR) ++state_->interrupted;
      ::sigprocmask(SIG_SETMASK, nullptr, &seen);
      if (!sigismember(&seen, SIGUSR2) || !sigismember(&seen, SIGRTMIN + 3) || sigismember(&seen, SIGUSR1)) {
        state_->disturbed = "the signal mask";
      }
      ++state_->rounds;
    }
  }

  SharedWithChildren<TargetState> state_;
  ForkedProcess process_;
};

}  // namespace godwit::testing
