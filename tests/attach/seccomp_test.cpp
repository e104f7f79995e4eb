// Processes that a seccomp filter confines: what a filter would say is found out before the call, and nobody is killed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "attach/remote_userfaultfd.h"
#include "attach/seccomp_filter.h"
#include "tests/attach/call_target.h"

namespace godwit::seccomp_test {
namespace {

using testing::eventually;
using testing::ForkedProcess;

constexpr std::uint32_t kNewByIoctl = 0xAA00;

FilterInstruction statement(int code, std::uint32_t constant) {
  return {static_cast<std::uint16_t>(code), 0, 0, constant};
}
FilterInstruction jump(int code, std::uint32_t constant, std::uint8_t yes, std::uint8_t no) {
  return {static_cast<std::uint16_t>(code), yes, no, constant};
}
FilterInstruction load(std::size_t offset) {
  return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
FilterInstruction give(std::uint32_t verdict) {
  return statement(BPF_RET | BPF_K, verdict);
}

FilterProgram on_call(long number, std::uint32_t verdict) {
  return {load(offsetof(seccomp_data, nr)), jump(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1),
          give(verdict), give(SECCOMP_RET_ALLOW)};
}

FilterProgram on_ioctl(std::uint32_t request, std::uint32_t verdict) {
  return {load(offsetof(seccomp_data, nr)),
          jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
          load(offsetof(seccomp_data, args) + 8),
          jump(BPF_JMP | BPF_JEQ | BPF_K, request, 0, 1),
          give(verdict),
          give(SECCOMP_RET_ALLOW)};
}

FilterVerdict ask(const std::vector<FilterProgram>& filters, long number, std::array<std::uint64_t, 6> arguments = {}) {
  return ask_filters(filters, filtered_call(number, arguments, 0)).verdict;
}

TEST(SeccompFilter, SaysWhatTheKernelWouldDo) {
  EXPECT_EQ(ask({}, SYS_userfaultfd), FilterVerdict::kAllows);
  EXPECT_EQ(ask({on_call(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS)}, SYS_userfaultfd), FilterVerdict::kKills);
  EXPECT_EQ(ask({on_call(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS)}, SYS_close), FilterVerdict::kAllows);
  EXPECT_EQ(ask({on_call(SYS_userfaultfd, SECCOMP_RET_KILL_THREAD)}, SYS_userfaultfd), FilterVerdict::kKills);
  EXPECT_EQ(ask({on_call(SYS_userfaultfd, SECCOMP_RET_TRAP)}, SYS_userfaultfd), FilterVerdict::kKills);
  EXPECT_EQ(ask({on_call(SYS_userfaultfd, SECCOMP_RET_USER_NOTIF)}, SYS_userfaultfd), FilterVerdict::kDenies);
  EXPECT_EQ(ask({on_call(SYS_userfaultfd, SECCOMP_RET_LOG)}, SYS_userfaultfd), FilterVerdict::kAllows);
  EXPECT_EQ(ask({on_call(SYS_userfaultfd, 0x12340000)}, SYS_userfaultfd), FilterVerdict::kKills);
  const std::vector<FilterProgram> denies = {on_call(SYS_userfaultfd, SECCOMP_RET_ERRNO | EPERM)};
  EXPECT_EQ(ask_filters(denies, filtered_call(SYS_userfaultfd, {}, 0)).error, EPERM);
}

TEST(SeccompFilter, TakesTheWorstOfSeveral) {
  const auto allows = on_call(SYS_close, SECCOMP_RET_KILL_PROCESS);
  const auto denies = on_call(SYS_userfaultfd, SECCOMP_RET_ERRNO | EPERM);
  const auto kills = on_call(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS);
  EXPECT_EQ(ask({allows, denies}, SYS_userfaultfd), FilterVerdict::kDenies);
  EXPECT_EQ(ask({denies, kills}, SYS_userfaultfd), FilterVerdict::kKills);
  EXPECT_EQ(ask({kills, denies}, SYS_userfaultfd), FilterVerdict::kKills);
}

TEST(SeccompFilter, LooksAtArguments) {
  const std::vector<FilterProgram> filters = {on_ioctl(kNewByIoctl, SECCOMP_RET_KILL_PROCESS)};
  EXPECT_EQ(ask(filters, SYS_ioctl, {3, kNewByIoctl}), FilterVerdict::kKills);
  EXPECT_EQ(ask(filters, SYS_ioctl, {3, 0x5421}), FilterVerdict::kAllows);
}

/// Masks, comparisons, memory and the second register, as compilers of filters use them.
TEST(SeccompFilter, ComputesAsTheKernelDoes) {
  const FilterProgram program = {load(offsetof(seccomp_data, args)),
                                 statement(BPF_ST, 3),
                                 statement(BPF_LDX | BPF_W | BPF_IMM, 4),
                                 statement(BPF_ALU | BPF_LSH | BPF_X, 0),  // 0x30 -> 0x300
                                 statement(BPF_ALU | BPF_OR | BPF_K, 1),   // 0x301
                                 statement(BPF_MISC | BPF_TAX, 0),
                                 statement(BPF_LD | BPF_W | BPF_MEM, 3),       // 0x30
                                 statement(BPF_ALU | BPF_ADD | BPF_X, 0),      // 0x331
                                 statement(BPF_ALU | BPF_AND | BPF_K, 0xff0),  // 0x330
                                 jump(BPF_JMP | BPF_JGE | BPF_K, 0x330, 0, 2),
                                 jump(BPF_JMP | BPF_JGT | BPF_K, 0x330, 1, 0),
                                 statement(BPF_JMP | BPF_JA, 1),
                                 give(SECCOMP_RET_KILL_PROCESS),
                                 give(SECCOMP_RET_ALLOW)};
  EXPECT_EQ(ask({program}, 0, {0x30}), FilterVerdict::kAllows);
  EXPECT_EQ(ask({program}, 0, {0x40}), FilterVerdict::kKills);
  EXPECT_EQ(ask({program}, 0, {0x20}), FilterVerdict::kKills);
}

/// Nothing that a process hands us makes us read past its end.
TEST(SeccompFilter, KnowsWhatIsNoFilter) {
  EXPECT_EQ(ask({FilterProgram{}}, 0), FilterVerdict::kUnknown);
  EXPECT_EQ(ask({{load(62)}}, 0), FilterVerdict::kUnknown);
  EXPECT_EQ(ask({{load(64), give(SECCOMP_RET_ALLOW)}}, 0), FilterVerdict::kUnknown);
  EXPECT_EQ(ask({{load(0xffffffff), give(SECCOMP_RET_ALLOW)}}, 0), FilterVerdict::kUnknown);
  EXPECT_EQ(ask({{statement(BPF_ST, 16), give(SECCOMP_RET_ALLOW)}}, 0), FilterVerdict::kUnknown);
  EXPECT_EQ(ask({{statement(BPF_ALU | BPF_DIV | BPF_K, 0), give(SECCOMP_RET_ALLOW)}}, 0), FilterVerdict::kUnknown);
  EXPECT_EQ(ask({{statement(BPF_JMP | BPF_JA, 0xffffffff), give(SECCOMP_RET_ALLOW)}}, 0), FilterVerdict::kUnknown);
}

/// A process under a filter; it waits and counts.
class ConfinedProcess {
 public:
  explicit ConfinedProcess(std::vector<FilterProgram> filters)
      : device_(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC)), process_([this, filters] { run(filters); }) {
    eventually([&] { return *rounds_ > 0; });
  }
  pid_t pid() const { return process_.pid(); }
  int device() const { return device_.get(); }
  bool goes_on() {
    const int before = *rounds_;
    return eventually([&] { return *rounds_ > before + 1; });
  }

 private:
  void run(const std::vector<FilterProgram>& filters) {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(98);
    for (const auto& filter : filters) {
      sock_fprog program{static_cast<unsigned short>(filter.size()),
                         reinterpret_cast<sock_filter*>(const_cast<FilterInstruction*>(filter.data()))};
      if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) ::_exit(98);
    }
    while (true) {
      ::poll(nullptr, 0, 1);
      ++*rounds_;
    }
  }
  UniqueFd device_;
  testing::SharedWithChildren<std::atomic<int>> rounds_;
  ForkedProcess process_;
};

/// Lends what the process has inherited.
class InheritedLender final : public DescriptorLender {
 public:
  explicit InheritedLender(int number) : number_(number) {}
  Result<int> lend(int) override {
    ++lent;
    return number_;
  }
  void take_back() noexcept override { ++taken_back; }
  int lent = 0, taken_back = 0;

 private:
  int number_;
};

class Confined : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root may read seccomp filters";
  }
};

TEST_F(Confined, AProcessIsNotKilledForUserfaultfd) {
  ConfinedProcess confined({on_call(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS)});
  const auto process = RemoteProcess::open(confined.pid());
  ASSERT_TRUE(process);
  const auto made = create_remote_userfaultfd(*process);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(made.error().message.find("seccomp"), std::string::npos) << made.error().message;
  EXPECT_NE(made.error().message.find("userfaultfd"), std::string::npos) << made.error().message;
  const auto returned = remote_syscall(*process, SYS_getpid, {});
  ASSERT_TRUE(returned) << returned.error().message;
  EXPECT_TRUE(confined.goes_on());
}

TEST_F(Confined, AnyCallIsLookedUpFirst) {
  ConfinedProcess confined({on_call(SYS_getpid, SECCOMP_RET_KILL_PROCESS), on_call(SYS_getuid, SECCOMP_RET_TRAP)});
  const auto process = RemoteProcess::open(confined.pid());
  ASSERT_TRUE(process);
  for (const long number : {SYS_getpid, SYS_getuid}) {
    const auto returned = remote_syscall(*process, number, {});
    ASSERT_FALSE(returned);
    EXPECT_EQ(returned.error().kind, ErrorKind::kRefused) << returned.error().message;
  }
  EXPECT_TRUE(confined.goes_on());
}

/// Without it the death of the caller would not be safe.
TEST_F(Confined, NothingIsCalledWhereSigreturnIsForbidden) {
  ConfinedProcess confined({on_call(SYS_rt_sigreturn, SECCOMP_RET_KILL_PROCESS)});
  const auto process = RemoteProcess::open(confined.pid());
  ASSERT_TRUE(process);
  const auto returned = remote_syscall(*process, SYS_getpid, {});
  ASSERT_FALSE(returned);
  EXPECT_EQ(returned.error().kind, ErrorKind::kRefused) << returned.error().message;
  EXPECT_TRUE(confined.goes_on());
}

TEST_F(Confined, ALentDeviceMakesTheUserfaultfd) {
  for (const std::uint32_t verdict : {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ERRNO | EPERM}) {
    ConfinedProcess confined({on_call(SYS_userfaultfd, verdict)});
    if (confined.device() < 0) GTEST_SKIP() << "no /dev/userfaultfd (Linux 6.1)";
    const auto process = RemoteProcess::open(confined.pid());
    ASSERT_TRUE(process);
    InheritedLender lender(confined.device());
    EXPECT_TRUE(check_remote_userfaultfd(*process, true));
    EXPECT_FALSE(check_remote_userfaultfd(*process, false));
    const auto made = create_remote_userfaultfd(*process, &lender);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(lender.lent, 1);
    EXPECT_EQ(lender.taken_back, 1);
    EXPECT_TRUE(confined.goes_on());
  }
}

TEST_F(Confined, NoWayIsSaidWithItsReasons) {
  ConfinedProcess confined(
      {on_call(SYS_userfaultfd, SECCOMP_RET_ERRNO | EPERM), on_ioctl(kNewByIoctl, SECCOMP_RET_KILL_PROCESS)});
  if (confined.device() < 0) GTEST_SKIP() << "no /dev/userfaultfd (Linux 6.1)";
  const auto process = RemoteProcess::open(confined.pid());
  ASSERT_TRUE(process);
  InheritedLender lender(confined.device());
  EXPECT_FALSE(check_remote_userfaultfd(*process, true));
  const auto made = create_remote_userfaultfd(*process, &lender);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(made.error().message.find("ioctl"), std::string::npos) << made.error().message;
  EXPECT_EQ(lender.lent, lender.taken_back);
  EXPECT_TRUE(confined.goes_on());
}

/// A caller under a filter of its own, as in a container, may not read others': nothing is risked.
TEST_F(Confined, ACallerWhoCannotReadFiltersCallsNothing) {
  ConfinedProcess confined({on_call(SYS_userfaultfd, SECCOMP_RET_KILL_PROCESS)});
  testing::SharedWithChildren<std::atomic<int>> outcome;
  ForkedProcess caller([&] {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    FilterProgram all = {give(SECCOMP_RET_ALLOW)};
    sock_fprog program{1, reinterpret_cast<sock_filter*>(all.data())};
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) ::_exit(98);
    const auto process = RemoteProcess::open(confined.pid());
    if (!process) ::_exit(97);
    const auto returned = remote_syscall(*process, SYS_getpid, {});
    *outcome = returned ? 1 : returned.error().kind == ErrorKind::kRefused ? 2 : 3;
  });
  EXPECT_EQ(caller.wait(), 0);
  EXPECT_EQ(*outcome, 2);
  EXPECT_TRUE(confined.goes_on());
}

}  // namespace
}  // namespace godwit::seccomp_test
