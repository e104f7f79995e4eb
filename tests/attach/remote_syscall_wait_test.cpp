// What a remote call must not change: how long the thread sleeps, which signals it gets, and stacks that are not its
// first one.
#include <gtest/gtest.h>
#include <ucontext.h>

#include <chrono>

#include "attach/remote_process.h"
#include "tests/attach/call_target.h"

namespace godwit::remote_syscall_wait_test {
namespace {

using testing::CallTarget;
using testing::eventually;
using testing::ForkedProcess;
using testing::Pastime;
using testing::SharedWithChildren;

struct Sleeps {
  std::atomic<int> started{0};
  std::atomic<std::int64_t> disturbed_ns{0};
  std::atomic<std::int64_t> control_ns{0};
  std::atomic<int> returned{-1000};
  int calls = 0;  // that disturbed
};

std::int64_t time_of(const std::function<void()>& sleep) {
  const auto begin = std::chrono::steady_clock::now();
  sleep();
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
}

constexpr long kSleepMs = 200;

int sleep_by(Pastime pastime) {
  timespec time{0, kSleepMs * 1'000'000};
  std::uint32_t word = 0;
  switch (pastime) {
    case Pastime::kPpoll:
      return ::ppoll(nullptr, 0, &time, nullptr);
    case Pastime::kPoll:
      return ::poll(nullptr, 0, kSleepMs);
    case Pastime::kNanosleep:
      return ::nanosleep(&time, nullptr);
    default:
      return ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time) == -1 && errno == ETIMEDOUT ? 0 : -errno;
  }
}

class RemoteSyscallTimeout : public ::testing::TestWithParam<Pastime> {};

INSTANTIATE_TEST_SUITE_P(Pastimes, RemoteSyscallTimeout,
                         ::testing::Values(Pastime::kPpoll, Pastime::kPoll, Pastime::kNanosleep, Pastime::kFutex),
                         [](const auto& param) { return testing::name_of(param.param); });

/// Sleeps once while it is disturbed, and once in another thread while it is not. It is disturbed during the last part
/// of its sleep only: a timeout that began again would end late by half.
void sleep_disturbed(Pastime kind, Sleeps& sleeps) {
  ForkedProcess target([&] {
    std::thread control([&] {
      ++sleeps.started;
      sleeps.control_ns = time_of([&] { sleep_by(kind); });
    });
    ++sleeps.started;
    sleeps.disturbed_ns = time_of([&] { sleeps.returned = sleep_by(kind); });
    control.join();
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return sleeps.started == 2; }));
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  std::this_thread::sleep_for(std::chrono::milliseconds(kSleepMs / 2));
  while (sleeps.disturbed_ns == 0 && sleeps.calls < 1000) {
    ASSERT_TRUE(remote_syscall(*process, SYS_getpid, {}));
    ++sleeps.calls;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_TRUE(eventually([&] { return sleeps.control_ns != 0; }));
  EXPECT_EQ(sleeps.returned, 0);
  EXPECT_GE(sleeps.disturbed_ns, kSleepMs * 1'000'000);
}

TEST_P(RemoteSyscallTimeout, EndsWithAnUndisturbedOne) {
  // A busy machine may wake one of the two late, or leave no time for two calls; a timeout that begins again with each
  // call is late every time.
  bool as_long = false;
  for (int attempt = 0; attempt < 10 && !as_long && !HasFailure(); ++attempt) {
    SharedWithChildren<Sleeps> sleeps;
    sleep_disturbed(GetParam(), *sleeps);
    as_long = sleeps->calls > 1 && sleeps->disturbed_ns < sleeps->control_ns * 5 / 4;
  }
  EXPECT_TRUE(as_long);
}

struct Signals {
  std::atomic<int> ready{0};
  std::atomic<int> handled{0};
  std::atomic<int> returned{-1000};
  std::atomic<bool> lost{false};
};

Signals* signals_of_handler;
void count_signal(int) {
  ++signals_of_handler->handled;
}

// A signal that the thread lets in only while it waits (the reason why ppoll takes a mask) must end that wait, also if
// it comes while a call is made.
TEST(RemoteSyscallSignals, StillEndTheWaitThatLetsThemIn) {
  SharedWithChildren<Signals> signals;
  signals_of_handler = &*signals;
  ForkedProcess target([&] {
    struct sigaction action {};
    action.sa_handler = count_signal;
    ::sigaction(SIGUSR1, &action, nullptr);
    sigset_t blocked, open;
    sigemptyset(&open);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
    ++signals->ready;
    while (true) {
      const int handled = signals->handled;
      const int returned = ::ppoll(nullptr, 0, nullptr, &open);
      // With no timeout and no descriptors only a handled signal can end it.
      if (returned != -1 || errno != EINTR || signals->handled == handled) signals->lost = true;
      ++signals->ready;
    }
  });
  ASSERT_TRUE(eventually([&] { return signals->ready == 1; }));
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  std::atomic<bool> stop{false};
  std::thread caller([&] {
    while (!stop) EXPECT_TRUE(remote_syscall(*process, SYS_getpid, {}));
  });
  for (int sent = 1; sent <= 100; ++sent) {
    ASSERT_EQ(::kill(target.pid(), SIGUSR1), 0);
    const bool woken = eventually([&] { return signals->ready == 1 + sent; });
    EXPECT_TRUE(woken) << "signal number " << sent;
    if (!woken) break;
  }
  stop = true;
  caller.join();
  EXPECT_EQ(signals->handled, 100);
  EXPECT_FALSE(signals->lost);
}

struct Coroutine {
  std::atomic<int> switches{0};
  std::atomic<bool> overwritten{false};
};

// Below a coroutine's stack lies somebody else's memory.
TEST(RemoteSyscallStack, IsNeverACoroutines) {
  SharedWithChildren<Coroutine> coroutine;
  ForkedProcess target([&] {
    constexpr std::size_t kStackBytes = 3000;  // less than a frame takes
    constexpr std::size_t kBelow = 32768;
    std::vector<unsigned char> memory(kBelow + kStackBytes, 0x5a);
    ucontext_t main_context, inner;
    const auto body = [](Coroutine* state, unsigned long) {
      for (unsigned i = 0; i < 100'000; ++i) asm volatile("pause");
      ++state->switches;
    };
    while (true) {
      ::getcontext(&inner);
      inner.uc_stack.ss_sp = memory.data() + kBelow;
      inner.uc_stack.ss_size = kStackBytes;
      inner.uc_link = &main_context;
      ::makecontext(&inner, reinterpret_cast<void (*)()>(+body), 1, &*coroutine);
      ::swapcontext(&main_context, &inner);
      for (std::size_t i = 0; i < kBelow; ++i) {
        if (memory[i] != 0x5a) coroutine->overwritten = true;
      }
      ::usleep(500);
    }
  });
  ASSERT_TRUE(eventually([&] { return coroutine->switches > 0; }));
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  for (int i = 0; i < 20; ++i) {
    const auto returned = remote_syscall(*process, SYS_getpid, {});
    ASSERT_TRUE(returned) << returned.error().message;
    EXPECT_EQ(*returned, target.pid());
  }
  const int switches = coroutine->switches;
  ASSERT_TRUE(eventually([&] { return coroutine->switches > switches + 1; }));
  EXPECT_FALSE(coroutine->overwritten);
}

}  // namespace
}  // namespace godwit::remote_syscall_wait_test
