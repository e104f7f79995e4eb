// The caller is killed at every step of a remote call, and at random instants: the other process must not notice.
#include <gtest/gtest.h>

#include <random>

#include "attach/remote_call.h"
#include "base/small_files.h"
#include "tests/attach/call_target.h"

namespace godwit::caller_death_test {
namespace {

using testing::CallTarget;
using testing::eventually;
using testing::ForkedProcess;
using testing::kPastimes;
using testing::Pastime;

class CallerDeath : public ::testing::TestWithParam<Pastime> {};

INSTANTIATE_TEST_SUITE_P(Pastimes, CallerDeath, ::testing::ValuesIn(kPastimes),
                         [](const auto& param) { return testing::name_of(param.param); });

bool is_traced(pid_t pid) {
  const auto status = read_whole_file("/proc/" + std::to_string(pid) + "/status", 1 << 16);
  return !status || status->find("TracerPid:\t0\n") == std::string::npos;
}

/// A process that makes a call in `target` and dies by its own hand at the step.
int die_at(CallStep step, pid_t target) {
  ForkedProcess caller([&] {
    const auto process = RemoteProcess::open(target);
    if (!process) ::_exit(97);
    const auto returned = remote_syscall_in_steps(*process, SYS_getppid, {}, [&](CallStep reached) {
      if (reached == step) ::kill(::getpid(), SIGKILL);
    });
    ::_exit(returned ? 0 : 96);
  });
  return caller.wait();
}

TEST_P(CallerDeath, AtEachStepGoesUnnoticed) {
  CallTarget target(GetParam());
  for (int step = 0; step < kCallSteps; ++step) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      const int status = die_at(static_cast<CallStep>(step), target.pid());
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
          << "the caller did not reach step " << step << ", status " << status;
      ASSERT_EQ(target.complaint(), "") << "after a death at step " << step;
      ASSERT_TRUE(eventually([&] { return !is_traced(target.pid()); }));
    }
  }
  // And it can still be called.
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  const auto returned = remote_syscall(*process, SYS_getpid, {});
  ASSERT_TRUE(returned) << returned.error().message;
  EXPECT_EQ(*returned, target.pid());
}

TEST_P(CallerDeath, AtAnyInstantGoesUnnoticed) {
  constexpr unsigned kSeed = 20240607;
  std::minstd_rand random(kSeed + static_cast<unsigned>(GetParam()));
  CallTarget target(GetParam());
  testing::SharedWithChildren<std::atomic<int>> calls;
  int deaths_in_call = 0;
  // On a loaded machine, or under a sanitizer, it takes more deaths until one falls into a call.
  for (int i = 0; i < 60 || (deaths_in_call == 0 && i < 2000); ++i) {
    *calls = 0;
    {
      ForkedProcess caller([&] {
        const auto process = RemoteProcess::open(target.pid());
        while (process && remote_syscall(*process, SYS_getppid, {})) ++*calls;
        ::_exit(96);
      });
      ASSERT_TRUE(eventually([&] { return *calls > 0; }));
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 700));
      deaths_in_call += is_traced(target.pid()) ? 1 : 0;
      const int status = caller.end();
      ASSERT_TRUE(WIFSIGNALED(status)) << "the caller failed by itself, status " << status;
    }
    ASSERT_EQ(target.complaint(), "") << "after death number " << i;
  }
  EXPECT_GT(deaths_in_call, 0);
}

TEST(CallerDeathDuringStop, LeavesAStoppedProcessStopped) {
  CallTarget target(Pastime::kPpoll);
  ASSERT_EQ(::kill(target.pid(), SIGSTOP), 0);
  const auto stopped = [&] {
    const auto stat = read_whole_file("/proc/" + std::to_string(target.pid()) + "/stat", 4096);
    return stat && stat->find(") T ") != std::string::npos;
  };
  ASSERT_TRUE(eventually(stopped));
  for (int step = 0; step < kCallSteps; ++step) {
    const int status = die_at(static_cast<CallStep>(step), target.pid());
    ASSERT_TRUE(WIFSIGNALED(status)) << "step " << step << ", status " << status;
    ASSERT_TRUE(eventually(stopped)) << "step " << step;
  }
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  const auto returned = remote_syscall(*process, SYS_getpid, {});
  ASSERT_TRUE(returned) << returned.error().message;
  EXPECT_EQ(*returned, target.pid());
  EXPECT_TRUE(eventually(stopped));
  const auto rounds = target.state().rounds.load();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(target.state().rounds, rounds);
  ASSERT_EQ(::kill(target.pid(), SIGCONT), 0);
  EXPECT_EQ(target.complaint(), "");
}

}  // namespace
}  // namespace godwit::caller_death_test
