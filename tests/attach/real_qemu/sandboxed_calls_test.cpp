// Remote calls in a real QEMU with its sandbox on, and callers that die there. QEMU must answer its monitor after each.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <array>
#include <cstring>
#include <string>

#include "attach/remote_call.h"
#include "attach/remote_userfaultfd.h"
#include "tests/attach/call_target.h"

namespace godwit::sandboxed_calls_test {
namespace {

using testing::eventually;
using testing::ForkedProcess;

constexpr const char* kQemu = "/usr/bin/qemu-system-x86_64";

/// A QEMU without a machine, its monitor on two pipes.
class BareQemu {
 public:
  BareQemu() {
    int to[2], from[2];
    if (::pipe(to) != 0 || ::pipe(from) != 0) return;
    process_.emplace([&] {
      ::dup2(to[0], 0);
      ::dup2(from[1], 1);
      for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
      ::execl(kQemu, kQemu, "-M", "none", "-nodefaults", "-S", "-display", "none", "-qmp", "stdio", "-sandbox",
              "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", nullptr);
      ::_exit(127);
    });
    ::close(to[0]);
    ::close(from[1]);
    to_.reset(to[1]);
    from_.reset(from[0]);
  }
  pid_t pid() const { return process_->pid(); }
  bool greets() { return read_until("QMP") && answers("qmp_capabilities"); }
  bool answers(const std::string& command) {
    const std::string text = "{\"execute\":\"" + command + "\"}\n";
    if (::write(to_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return false;
    return read_until("\"return\"");
  }

 private:
  bool read_until(const std::string& wanted) {
    std::string got;
    while (got.find(wanted) == std::string::npos || got.back() != '\n') {
      pollfd ready{from_.get(), POLLIN, 0};
      if (::poll(&ready, 1, 10000) <= 0) return false;
      char piece[4096];
      const ssize_t length = ::read(from_.get(), piece, sizeof piece);
      if (length <= 0) return false;
      got.append(piece, static_cast<std::size_t>(length));
    }
    return true;
  }
  UniqueFd to_, from_;
  std::optional<ForkedProcess> process_;
};

/// From here on this process may not read others' filters.
void put_on_a_filter() {
  sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program{1, all};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    ::_exit(98);
  }
}

class RemoteCallInQemu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access(kQemu, X_OK) != 0) GTEST_SKIP() << kQemu << " is not installed";
    qemu_.emplace();
    ASSERT_TRUE(qemu_->greets());
  }
  std::optional<BareQemu> qemu_;
};

TEST_F(RemoteCallInQemu, ReturnsWhileTheMonitorWorksOn) {
  const auto process = RemoteProcess::open(qemu_->pid());
  ASSERT_TRUE(process) << process.error().message;
  for (int i = 0; i < 20; ++i) {
    const auto returned = remote_syscall(*process, SYS_getpid, {});
    ASSERT_TRUE(returned) << returned.error().message;
    EXPECT_EQ(*returned, qemu_->pid());
    ASSERT_TRUE(qemu_->answers("query-status"));
  }
}

TEST_F(RemoteCallInQemu, GivesAUserfaultfd) {
  const auto process = RemoteProcess::open(qemu_->pid());
  ASSERT_TRUE(process);
  const auto made = create_remote_userfaultfd(*process);
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_TRUE(qemu_->answers("query-status"));
}

/// QEMU's own filter is known, so that a caller who may not read it need not give up.
TEST_F(RemoteCallInQemu, GivesAUserfaultfdToACallerWhoCannotReadItsFilter) {
  testing::SharedWithChildren<std::array<char, 400>> problem;
  ForkedProcess caller([&] {
    put_on_a_filter();
    const auto process = RemoteProcess::open(qemu_->pid());
    if (!process) ::_exit(97);
    const auto made = create_remote_userfaultfd(*process);
    if (made) ::_exit(0);
    std::strncpy(problem->data(), made.error().message.c_str(), problem->size() - 1);
    ::_exit(96);
  });
  const int status = caller.wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << problem->data();
  ASSERT_TRUE(qemu_->answers("query-status"));
}

/// As a post-copy's destination does, which must not begin what QEMU would be killed for.
TEST_F(RemoteCallInQemu, TakesMemoryAwayForACallerWhoCannotReadItsFilter) {
  testing::SharedWithChildren<std::array<char, 400>> problem;
  ForkedProcess caller([&] {
    put_on_a_filter();
    const auto process = RemoteProcess::open(qemu_->pid());
    if (!process) ::_exit(97);
    const auto call = [&](long number, std::array<std::uint64_t, 6> arguments) {
      const auto returned = remote_syscall(*process, number, arguments);
      if (returned) return static_cast<std::uint64_t>(*returned);
      std::strncpy(problem->data(), returned.error().message.c_str(), problem->size() - 1);
      ::_exit(96);
    };
    constexpr std::uint64_t kBytes = 8192;
    const auto at = call(SYS_mmap, {0, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0});
    call(SYS_madvise, {at, kBytes, MADV_DONTNEED});
    const auto self = call(SYS_pidfd_open, {static_cast<std::uint64_t>(process->pid()), 0});
    // An older kernel takes no such advice; QEMU is not killed for it.
    (void)remote_syscall_returns(*process, SYS_process_madvise, {self, at, 0, MADV_DONTNEED, 0, 0});
    call(SYS_close, {self});
    call(SYS_munmap, {at, kBytes});
    ::_exit(0);
  });
  const int status = caller.wait();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << problem->data();
  ASSERT_TRUE(qemu_->answers("query-status"));
}

TEST_F(RemoteCallInQemu, SurvivesTheCallersDeathAtEachStep) {
  for (int step = 0; step < kCallSteps; ++step) {
    for (int repeat = 0; repeat < 6; ++repeat) {
      ForkedProcess caller([&] {
        const auto process = RemoteProcess::open(qemu_->pid());
        if (!process) ::_exit(97);
        const auto returned = remote_syscall_in_steps(*process, SYS_getpid, {}, [&](CallStep reached) {
          if (reached == static_cast<CallStep>(step)) ::kill(::getpid(), SIGKILL);
        });
        ::_exit(returned ? 0 : 96);
      });
      const int status = caller.wait();
      ASSERT_TRUE(WIFSIGNALED(status)) << "step " << step << ", status " << status;
      ASSERT_TRUE(qemu_->answers("query-status")) << "after a death at step " << step;
    }
  }
}

}  // namespace
}  // namespace godwit::sandboxed_calls_test
