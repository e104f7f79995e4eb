#include "app/stop_signals.h"

#include <pthread.h>

#include <cerrno>
#include <csignal>

namespace godwit {

namespace {
sigset_t stop_signals(OnHangUp on_hang_up) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (on_hang_up == OnHangUp::kStop) sigaddset(&set, SIGHUP);
  return set;
}
}  // namespace

StopSignals::StopSignals(OnHangUp on_hang_up) {
  std::signal(SIGPIPE, SIG_IGN);
  // Where whoever started this ignores it (it is inherited), the kernel takes the ends of children before they are
  // read.
  std::signal(SIGCHLD, SIG_DFL);
  // An engine that is stopped from a terminal in the pause would keep its guest paused.
  for (const int signal : {SIGTSTP, SIGTTIN, SIGTTOU}) std::signal(signal, SIG_IGN);
  if (on_hang_up == OnHangUp::kGoOn) std::signal(SIGHUP, SIG_IGN);
  const sigset_t set = stop_signals(on_hang_up);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiter_ = std::jthread([this, set](std::stop_token end) {
    while (!end.stop_requested()) {
      const timespec tick{0, 100'000'000};  // how soon the destructor gets its thread back
      if (::sigtimedwait(&set, nullptr, &tick) > 0) source_.request_stop();
    }
  });
}

StopSignals::~StopSignals() = default;

}  // namespace godwit
