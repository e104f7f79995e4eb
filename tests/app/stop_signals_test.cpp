// What a terminal, a session and a broken pipe do to an engine: it is asked to end, or notices nothing. Never does it
// die or stop, because its guest may be paused.
#include "app/stop_signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>
#include <thread>

namespace godwit::stop_signals_test {
namespace {

using namespace std::chrono_literals;

constexpr int kWentOn = 7;
constexpr int kAskedToEnd = 8;

/// How a process ends or stops that has StopSignals and is sent `signal`: as waitpid(2) tells it.
int fate_of_an_engine(int signal, bool asked_to_end, OnHangUp on_hang_up = OnHangUp::kStop) {
  const pid_t child = ::fork();
  if (child == 0) {
    // In a group of its own with a parent in the session: the kernel stops no orphaned groups.
    ::setpgid(0, 0);
    StopSignals signals(on_hang_up);
    ::kill(::getpid(), signal);
    for (int i = 0; asked_to_end && i < 1000 && !signals.token().stop_requested(); ++i) {
      std::this_thread::sleep_for(10ms);
    }
    ::_exit(signals.token().stop_requested() ? kAskedToEnd : kWentOn);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, WUNTRACED), child);
  if (WIFSTOPPED(status)) {
    ::kill(child, SIGKILL);
    EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  }
  return status;
}

std::string told(int status) {
  if (WIFSTOPPED(status)) return "is stopped";
  if (WIFSIGNALED(status)) return "died of signal " + std::to_string(WTERMSIG(status));
  return WEXITSTATUS(status) == kWentOn ? "goes on" : WEXITSTATUS(status) == kAskedToEnd ? "is asked to end" : "?";
}

TEST(StopSignals, AHangUpAsksToEndAsCtrlCDoes) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EQ(told(fate_of_an_engine(signal, true)), "is asked to end") << ::strsignal(signal);
  }
}

TEST(StopSignals, AServiceOutlivesItsTerminal) {
  EXPECT_EQ(told(fate_of_an_engine(SIGHUP, false, OnHangUp::kGoOn)), "goes on");
  EXPECT_EQ(told(fate_of_an_engine(SIGTERM, true, OnHangUp::kGoOn)), "is asked to end");
}

TEST(StopSignals, ATerminalCannotMakeAnEngineStandStill) {
  for (const int signal : {SIGTSTP, SIGTTIN, SIGTTOU}) {
    EXPECT_EQ(told(fate_of_an_engine(signal, false)), "goes on") << ::strsignal(signal);
  }
}

TEST(StopSignals, AReaderThatGoesAwayDoesNotKillIt) {
  EXPECT_EQ(told(fate_of_an_engine(SIGPIPE, false)), "goes on");
}

/// Ignored by whoever started it, which a process inherits.
TEST(StopSignals, LetsChildrenBeWaitedFor) {
  const pid_t engine = ::fork();
  if (engine == 0) {
    std::signal(SIGCHLD, SIG_IGN);
    StopSignals signals;
    const pid_t child = ::fork();
    if (child == 0) ::_exit(3);
    int status = 0;
    ::_exit(::waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3 ? kWentOn : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(engine, &status, 0), engine);
  EXPECT_EQ(told(status), "goes on");
}

}  // namespace
}  // namespace godwit::stop_signals_test
