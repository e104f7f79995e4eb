#include "base/capabilities.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <functional>
#include <thread>
#include <vector>

#include "base/denied_calls.h"
#include "base/every_thread.h"
#include "base/small_files.h"

namespace godwit::capabilities_test {
namespace {

using namespace std::chrono_literals;

/// Exit code of a child that runs `body`; what it gives up, this program keeps. 255: it died of a signal.
int in_child(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

std::string status_of(const std::string& thread) {
  return read_small_file(fmt::format("/proc/self/task/{}/status", thread)).value_or("");
}
std::string own_status() {
  return read_small_file("/proc/self/status").value_or("");
}
std::string line(const std::string& status, const char* name) {
  return value_of_line(status, name).value_or("");
}

bool is_root() {
  return ::geteuid() == 0;
}

constexpr std::string_view kNone = "0000000000000000";

TEST(Capabilities, ASetHasWhatWasPutIntoIt) {
  constexpr CapabilitySet set(Capability::kDacOverride, Capability::kSysPtrace);
  EXPECT_EQ(set.bits(), 0x80002U);
  EXPECT_TRUE(set.has(1));
  EXPECT_FALSE(set.has(21));
  EXPECT_FALSE(set.has(64));
  EXPECT_TRUE(set.with(Capability::kCheckpointRestore).has(40));
  EXPECT_TRUE(set.contains(CapabilitySet(Capability::kSysPtrace)));
  EXPECT_FALSE(set.contains(CapabilitySet(Capability::kSysAdmin)));
  EXPECT_TRUE(CapabilitySet().contains(CapabilitySet()));
}

TEST(Capabilities, AreReadFromWhatTheKernelSays) {
  constexpr CapabilitySet kept(Capability::kSysPtrace);
  EXPECT_TRUE(is_limited("CapPrm:\t0000000000080000\nNoNewPrivs:\t1\n", kept));
  EXPECT_TRUE(is_limited("CapPrm:\t0000000000000000\nNoNewPrivs:\t1\n", kept));
  EXPECT_FALSE(is_limited("CapPrm:\t0000000000080000\nNoNewPrivs:\t0\n", kept));
  EXPECT_FALSE(is_limited("CapPrm:\t0000000000080002\nNoNewPrivs:\t1\n", kept));
  EXPECT_FALSE(is_limited("CapPrm:\tsomething\nNoNewPrivs:\t1\n", kept));
  EXPECT_FALSE(is_limited("", kept));
}

TEST(Capabilities, OfAThreadAreGivenUpInAllSets) {
  if (!is_root()) GTEST_SKIP() << "only root has capabilities to give up";
  EXPECT_EQ(in_child([] {
              if (limit_this_thread(CapabilitySet(Capability::kDacOverride)) != 0) return 1;
              const std::string status = own_status();
              if (line(status, "CapPrm") != "0000000000000002") return 2;
              if (line(status, "CapEff") != "0000000000000002") return 3;
              if (line(status, "CapInh") != kNone || line(status, "CapAmb") != kNone) return 4;
              if (line(status, "NoNewPrivs") != "1") return 5;
              if (line(status, "CapBnd") != "0000000000000002") return 6;
              return is_limited(status, CapabilitySet(Capability::kDacOverride)) ? 0 : 7;
            }),
            0);
}

TEST(Capabilities, ThatAreGivenUpForbidAndDoNotComeBack) {
  if (!is_root()) GTEST_SKIP() << "only root has capabilities to give up";
  EXPECT_EQ(in_child([] {
              if (limit_this_thread(CapabilitySet()) != 0) return 1;
              // init is root's, too, but has capabilities that this one lacks.
              if (::open("/proc/1/mem", O_RDONLY) >= 0 || errno != EACCES) return 2;
              if (::setuid(1) == 0 || errno != EPERM) return 3;
              if (limit_this_thread(CapabilitySet(Capability::kSysAdmin)) != 0) return 4;
              if (line(own_status(), "CapPrm") != kNone) return 5;
              // Neither by another program: root's get all that there are.
              return ::execl("/bin/sh", "sh", "-c", "grep -q 'CapEff:.0000000000000000' /proc/self/status", nullptr);
            }),
            0);
}

TEST(Capabilities, OfEveryThreadAreGivenUp) {
  if (!is_root()) GTEST_SKIP() << "only root has capabilities to give up";
  EXPECT_EQ(in_child([] {
              std::atomic<bool> end{false};
              std::atomic<int> up{0};
              std::vector<std::jthread> threads;
              for (int i = 0; i < 8; ++i) {
                threads.emplace_back([&end, &up, i] {
                  ++up;
                  // Asleep in the kernel, or at work.
                  while (!end) {
                    if (i % 2 == 0) std::this_thread::sleep_for(20ms);
                  }
                });
              }
              while (up < 8) std::this_thread::yield();
              const auto limited = limit_every_thread(CapabilitySet(Capability::kSysPtrace), 20s);
              int result = limited ? 0 : 1;
              const auto names = names_in("/proc/self/task");
              if (names.size() < 9) result = 2;
              for (const auto& thread : names) {
                if (line(status_of(thread), "CapPrm") != "0000000000080000") result = 3;
                if (line(status_of(thread), "NoNewPrivs") != "1") result = 4;
              }
              std::thread([&] {
                if (line(read_small_file("/proc/thread-self/status").value_or(""), "CapPrm") != "0000000000080000") {
                  result = 5;
                }
              }).join();
              end = true;
              return result;
            }),
            0);
}

TEST(Capabilities, OfAThreadThatTakesNoSignalAreMissed) {
  if (!is_root()) GTEST_SKIP() << "only root has capabilities to give up";
  EXPECT_EQ(in_child([] {
              std::atomic<int> state{0};
              std::jthread deaf([&] {
                sigset_t all;
                ::sigfillset(&all);
                ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
                state = 1;
                while (state != 2) std::this_thread::sleep_for(1ms);
              });
              while (state != 1) std::this_thread::yield();
              const auto limited = limit_every_thread(CapabilitySet(), 50ms);
              state = 2;
              return !limited && limited.error().kind == ErrorKind::kTimedOut ? 0 : 1;
            }),
            0);
}

TEST(DeniedCalls, FailAndKillNothing) {
  EXPECT_EQ(in_child([] {
              if (deny_calls() != 0) return 1;
              for (const int call : denied_calls()) {
                errno = 0;
                // Arguments that none of them would take: what is not denied fails otherwise.
                if (::syscall(call, -1L, -1L, -1L, -1L, -1L, -1L) != -1 || errno != EPERM) return 2;
              }
              if (::syscall(SYS_clone, 0x10000000L | SIGCHLD, 0L, 0L, 0L, 0L) != -1 || errno != EPERM) return 3;
              if (::syscall(SYS_clone3, 0L, 0L) != -1 || errno != ENOSYS) return 4;
              return line(own_status(), "Seccomp") == "2" ? 0 : 5;
            }),
            0);
}

TEST(DeniedCalls, LeaveWhatAMoveDoes) {
  EXPECT_EQ(in_child([] {
              if (deny_calls() != 0) return 1;
              int value = 0;
              std::thread([&] { value = 1; }).join();
              if (value != 1) return 2;
              if (in_child([] { return 7; }) != 7) return 3;
              if (::open("/proc/self/maps", O_RDONLY | O_CLOEXEC) < 0) return 4;
              if (limit_this_thread(CapabilitySet()) != 0) return 5;
              // Twice, as under a service manager's filter.
              return deny_calls();
            }),
            0);
}

TEST(DeniedCalls, AreDeniedToThreadsThatWereThereBefore) {
  EXPECT_EQ(in_child([] {
              std::atomic<int> state{0};
              std::atomic<bool> denied{false};
              std::jthread other([&] {
                while (state != 1) std::this_thread::yield();
                denied = ::syscall(SYS_unshare, 0L) == -1 && errno == EPERM;
              });
              const int error = deny_calls();
              state = 1;
              other.join();
              return error == 0 && denied ? 0 : 1;
            }),
            0);
}

}  // namespace
}  // namespace godwit::capabilities_test
