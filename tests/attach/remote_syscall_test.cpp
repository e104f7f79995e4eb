// Calls made in another process: what they return, and that nobody notices.
#include "attach/remote_process.h"

#include <gtest/gtest.h>
#include <linux/sched.h>

#include <cerrno>

#include "base/small_files.h"
#include "tests/attach/call_target.h"

namespace godwit::remote_syscall_test {
namespace {

using testing::CallTarget;
using testing::eventually;
using testing::kPastimes;
using testing::Pastime;

class RemoteSyscall : public ::testing::TestWithParam<Pastime> {};

INSTANTIATE_TEST_SUITE_P(Pastimes, RemoteSyscall, ::testing::ValuesIn(kPastimes),
                         [](const auto& param) { return testing::name_of(param.param); });

TEST_P(RemoteSyscall, ReturnsAndDisturbsNothing) {
  CallTarget target(GetParam());
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process) << process.error().message;
  const auto interrupted = target.state().interrupted.load();
  for (int i = 0; i < 30; ++i) {
    const auto returned = remote_syscall(*process, SYS_getpid, {});
    ASSERT_TRUE(returned) << returned.error().message;
    EXPECT_EQ(*returned, target.pid());
  }
  EXPECT_EQ(target.complaint(), "");
  // The kernel restarts all of them, except for epoll_wait, which any stop interrupts.
  if (GetParam() != Pastime::kEpollWait) {
    EXPECT_EQ(target.state().interrupted, interrupted);
  }
}

TEST(RemoteSyscallResult, PassesAllSixArgumentsAndTheResult) {
  CallTarget target(Pastime::kPpoll);
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  const auto address =
      remote_syscall(*process, SYS_mmap, {0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0});
  ASSERT_TRUE(address) << address.error().message;
  const auto mappings = process->mappings();
  ASSERT_TRUE(mappings);
  bool found = false;
  for (const auto& mapping : *mappings) {
    found |= mapping.start <= static_cast<std::uint64_t>(*address) && mapping.end >= *address + 8192ULL;
  }
  EXPECT_TRUE(found);
  EXPECT_EQ(target.complaint(), "");
}

TEST(RemoteSyscallResult, TurnsANegativeErrnoIntoAnError) {
  CallTarget target(Pastime::kPpoll);
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  const auto returned = remote_syscall(*process, SYS_close, {static_cast<std::uint64_t>(-1)});
  ASSERT_FALSE(returned);
  EXPECT_EQ(returned.error().os_error, EBADF);
  EXPECT_EQ(target.complaint(), "");
}

/// Its code and its stack lie elsewhere then than where the last call was made.
TEST(RemoteSyscallResult, IsThatOfTheProgramThatRunsInTheProcessByNow) {
  testing::SharedWithChildren<std::atomic<bool>> go;
  testing::ForkedProcess target([&] {
    while (!*go) ::usleep(1000);
    ::execl("/bin/sleep", "sleep", "60", nullptr);
  });
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  const auto before = remote_syscall(*process, SYS_getpid, {});
  ASSERT_TRUE(before) << before.error().message;
  *go = true;
  ASSERT_TRUE(testing::eventually([&] {
    return read_small_file("/proc/" + std::to_string(target.pid()) + "/comm").value_or("").starts_with("sleep");
  }));
  const auto after = remote_syscall(*process, SYS_getpid, {});
  ASSERT_TRUE(after) << after.error().message;
  EXPECT_EQ(*after, target.pid());
}

TEST(RemoteSyscallResult, SaysThatTheProcessHasEnded) {
  CallTarget target(Pastime::kSpin);
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  target.process().end();
  const auto returned = remote_syscall(*process, SYS_getpid, {});
  ASSERT_FALSE(returned);
  EXPECT_EQ(returned.error().kind, ErrorKind::kNotFound) << returned.error().message;
}

/// Its number is another's by now, whose code and stack lie where its own did.
TEST(RemoteSyscallResult, IsNotMadeInAnotherProcessOfTheSameNumber) {
  testing::ForkedProcess target([] { ::pause(); });
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  ASSERT_TRUE(remote_syscall(*process, SYS_getpid, {}));
  pid_t number = target.pid();
  target.end();
  clone_args wanted{};
  wanted.exit_signal = SIGCHLD;
  wanted.set_tid = reinterpret_cast<std::uint64_t>(&number);
  wanted.set_tid_size = 1;
  const auto other = static_cast<pid_t>(::syscall(SYS_clone3, &wanted, sizeof wanted));
  if (other == 0) {
    ::alarm(60);
    ::pause();
    ::_exit(0);
  }
  if (other < 0 && (errno == EPERM || errno == ENOSYS)) GTEST_SKIP() << "no process can be given a number: " << errno;
  ASSERT_EQ(other, number) << errno;
  const auto returned = remote_syscall(*process, SYS_getpid, {});
  ASSERT_FALSE(returned);
  EXPECT_EQ(returned.error().kind, ErrorKind::kNotFound) << returned.error().message;
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
}

TEST(RemoteSyscallResult, SaysThatTheProcessIsTracedAlready) {
  CallTarget target(Pastime::kSpin);
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  testing::SharedWithChildren<std::atomic<int>> seized;
  testing::ForkedProcess tracer([&] {
    *seized = ::ptrace(PTRACE_SEIZE, target.pid(), nullptr, nullptr) == 0 ? 1 : -1;
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *seized != 0; }));
  ASSERT_EQ(*seized, 1);
  const auto returned = remote_syscall(*process, SYS_getpid, {});
  ASSERT_FALSE(returned);
  EXPECT_EQ(returned.error().kind, ErrorKind::kNoPermission);
  EXPECT_NE(returned.error().message.find("another process traces it"), std::string::npos);
  EXPECT_EQ(target.complaint(), "");
}

}  // namespace
}  // namespace godwit::remote_syscall_test
