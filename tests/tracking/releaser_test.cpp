// The process that outlives the engine: it holds nothing else, nobody takes it along, and it lets go.
#include "tracking/releaser.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "attach/proc_files.h"
#include "base/small_files.h"
#include "tests/tracking/writing_process.h"
#include "tracking/write_protection.h"

namespace godwit::releaser_test {
namespace {

using testing::eventually;
using testing::ForkedProcess;
using testing::Kind;
using testing::WritingProcess;

constexpr std::uint64_t kBytes = std::uint64_t{64} << 20;

bool gone(pid_t pid) {
  // Where nobody reaps orphans one that has ended is still listed.
  const auto status = read_whole_file("/proc/" + std::to_string(pid) + "/status", 1 << 16);
  return !status || status->find("\nState:\tZ") != std::string::npos;
}

std::vector<std::string> open_files(pid_t pid) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code closed_meanwhile;
    auto file = std::filesystem::read_symlink(entry.path(), closed_meanwhile);
    if (!closed_meanwhile) files.push_back(file.string());
  }
  return files;
}

TEST(Releaser, HoldsNothingOfTheEngines) {
  const UniqueFd lock(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
  const auto releaser = Releaser::start();
  ASSERT_TRUE(releaser) << releaser.error().message;
  const pid_t pid = (*releaser)->pid();
  std::vector<std::string> held;
  // It closes one after the other.
  EXPECT_TRUE(eventually([&] {
    held = open_files(pid);
    return held.size() == 4 && std::all_of(held.begin(), held.end(), [](const std::string& file) {
             return file == "/dev/null" || file.starts_with("socket:");
           });
  })) << ::testing::PrintToString(held);
  EXPECT_TRUE(name_of_process(pid).starts_with("godwit-")) << name_of_process(pid);
  EXPECT_NE(::getsid(pid), ::getsid(0));
  EXPECT_NE(::getpgid(pid), ::getpgrp());
}

TEST(Releaser, GoesWithANormalEndAndNotWithSignals) {
  auto releaser = Releaser::start();
  ASSERT_TRUE(releaser) << releaser.error().message;
  const pid_t pid = (*releaser)->pid();
  ASSERT_TRUE(eventually([&] { return open_files(pid).size() == 4; }));
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGTSTP}) ::kill(pid, signal);
  ::usleep(20'000);
  EXPECT_EQ(::kill(pid, 0), 0);
  releaser->reset();
  EXPECT_NE(::kill(pid, 0), 0);
}

/// An engine that tracks the whole of a process's memory and is killed.
TEST(Releaser, LetsGoOfTheMemoryOfADeadEngine) {
  if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
  WritingProcess child(Kind::kMemfd, kBytes);
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE(child.write(0, kBytes / 4096));
  testing::SharedWithChildren<std::atomic<pid_t>> releaser_pid;
  ForkedProcess engine([&] {
    auto releaser = Releaser::start();
    const auto process = RemoteProcess::open(child.pid());
    if (!releaser || !process) ::_exit(97);
    auto protection = WriteProtection::create(*process, nullptr);
    if (!protection || !protection->cover(child.address(), kBytes)) ::_exit(96);
    if (!(*releaser)->hold(protection->descriptor(), protection->covered())) ::_exit(95);
    *releaser_pid = (*releaser)->pid();
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *releaser_pid != 0; }));
  EXPECT_EQ(::kill(*releaser_pid, 0), 0);
  engine.end();
  EXPECT_TRUE(eventually([&] { return gone(*releaser_pid); }));
  // Nobody's any more: the next engine can have it, at once or after a wait.
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  auto next = WriteProtection::create(*process, nullptr);
  ASSERT_TRUE(next) << next.error().message;
  const auto covered = next->cover(child.address(), kBytes);
  EXPECT_TRUE(covered) << covered.error().message;
  EXPECT_TRUE(child.write(0, 100));
}

/// Piece by piece, which takes its time; an engine that comes meanwhile waits instead of refusing.
TEST(Releaser, IsWaitedForByTheNextEngine) {
  if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
  constexpr std::uint64_t kMuch = std::uint64_t{1} << 30;
  WritingProcess child(Kind::kMemfd, kMuch);
  ASSERT_TRUE(child.ok());
  testing::SharedWithChildren<std::atomic<pid_t>> releaser_pid;
  ForkedProcess engine([&] {
    auto releaser = Releaser::start();
    const auto process = RemoteProcess::open(child.pid());
    if (!releaser || !process) ::_exit(97);
    auto protection = WriteProtection::create(*process, nullptr);
    if (!protection || !protection->cover(child.address(), kMuch)) ::_exit(96);
    if (!(*releaser)->hold(protection->descriptor(), protection->covered())) ::_exit(95);
    *releaser_pid = (*releaser)->pid();
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *releaser_pid != 0; }));
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  auto next = WriteProtection::create(*process, nullptr);
  ASSERT_TRUE(next);
  engine.end();
  // 128 pieces with a pause after each: some 30 ms at least.
  bool seen = false;
  EXPECT_TRUE(eventually([&] {
    seen |= name_of_process(*releaser_pid).starts_with("godwit-release");
    return seen || gone(*releaser_pid);
  }));
  EXPECT_TRUE(seen) << "it has let go all at once";
  const auto covered = next->cover(child.address(), kMuch);
  EXPECT_TRUE(covered) << covered.error().message;
}

/// By an operator who does not want to wait for it.
TEST(Releaser, IsNotWaitedForOnceThatIsCancelled) {
  if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
  WritingProcess child(Kind::kMemfd, kBytes);
  ASSERT_TRUE(child.ok());
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  auto holds = WriteProtection::create(*process, nullptr);
  ASSERT_TRUE(holds);
  ASSERT_TRUE(holds->cover(child.address(), kBytes));
  // Somebody who seems to be at it and never ends.
  ForkedProcess releasing([] {
    ::prctl(PR_SET_NAME, "godwit-release");
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([] { return somebody_releases(); }));
  auto next = WriteProtection::create(*process, nullptr);
  ASSERT_TRUE(next);
  std::stop_source stop;
  std::jthread operators([&] {
    ::usleep(200'000);
    stop.request_stop();
  });
  const auto covered = next->cover(child.address(), kBytes, stop.get_token());
  ASSERT_FALSE(covered);
  EXPECT_EQ(covered.error().kind, ErrorKind::kCancelled);
  releasing.end();
}

/// After a normal stop it has nothing to hold: the userfaultfd is closed for good.
TEST(Releaser, ForgetsWhatHasBeenReleased) {
  if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
  WritingProcess child(Kind::kMemfd, kBytes);
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  auto releaser = Releaser::start();
  ASSERT_TRUE(releaser);
  {
    auto protection = WriteProtection::create(*process, nullptr);
    ASSERT_TRUE(protection);
    ASSERT_TRUE(protection->cover(child.address(), kBytes));
    ASSERT_TRUE((*releaser)->hold(protection->descriptor(), protection->covered()));
    EXPECT_TRUE(eventually([&] { return open_files((*releaser)->pid()).size() == 5; }));
  }
  (*releaser)->forget();
  EXPECT_TRUE(eventually([&] { return open_files((*releaser)->pid()).size() == 4; }));
}

}  // namespace
}  // namespace godwit::releaser_test
