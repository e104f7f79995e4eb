#include "base/every_thread.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <thread>

#include "base/small_files.h"

namespace godwit {

namespace {

constexpr Duration kLookAgain = std::chrono::microseconds(200);

/// The set travels with the signal: whenever it is handled, there is nothing to look up.
void on_limit_signal(int /*signal*/, siginfo_t* info, void* /*context*/) {
  if (info->si_code != SI_QUEUE || info->si_pid != ::getpid()) return;
  const int before = errno;
  (void)limit_this_thread(CapabilitySet(reinterpret_cast<std::uintptr_t>(info->si_value.sival_ptr)));
  errno = before;
}

int limit_signal() {
  return SIGRTMAX;
}

void ask_thread(pid_t thread, CapabilitySet kept) {
  siginfo_t info{};
  info.si_signo = limit_signal();
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  info.si_value.sival_ptr = reinterpret_cast<void*>(static_cast<std::uintptr_t>(kept.bits()));  // NOLINT: a number
  (void)::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), thread, limit_signal(), &info);            // it may have ended
}

/// False for one that has ended.
bool has_more(const std::string& thread, CapabilitySet kept) {
  const auto status = read_small_file(fmt::format("/proc/self/task/{}/status", thread));
  return status && !is_limited(*status, kept);
}

}  // namespace

Status limit_every_thread(CapabilitySet kept, Duration patience) {
  if (const int number = limit_this_thread(kept); number != 0) {
    return fail(ErrorKind::kIo, fmt::format("give up capabilities: {}", std::strerror(number)), number);
  }
  // The handler stays: a thread that hangs in the kernel comes to its signal only when it comes out.
  struct sigaction action {};
  action.sa_sigaction = on_limit_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  ::sigfillset(&action.sa_mask);
  if (::sigaction(limit_signal(), &action, nullptr) != 0) return fail_os("sigaction");
  const SteadyClock clock;
  const Instant deadline = clock.now() + patience;
  std::set<std::string> asked;
  for (;;) {
    // Until none is found in a whole round: one that has not been asked yet may make another.
    std::string left;
    for (const std::string& thread : names_in("/proc/self/task")) {
      if (!has_more(thread, kept)) continue;
      left = thread;
      if (asked.insert(thread).second) ask_thread(static_cast<pid_t>(std::stoi(thread)), kept);
    }
    if (left.empty()) return {};
    if (clock.now() > deadline) {
      return fail(ErrorKind::kTimedOut, fmt::format("thread {} does not give up its capabilities", left));
    }
    std::this_thread::sleep_for(kLookAgain);
  }
}

}  // namespace godwit
