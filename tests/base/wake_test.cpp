#include "base/wake.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <cerrno>
#include <thread>

namespace godwit::wake_test {
namespace {

bool is_readable(const Wake& wake, int ms) {
  pollfd waiting{.fd = wake.descriptor(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, ms) == 1;
}

TEST(Wake, IsReadableFromAWakeUntilItIsDrained) {
  Wake wake;
  ASSERT_TRUE(wake);
  EXPECT_FALSE(is_readable(wake, 0));
  wake.wake();
  wake.wake();
  EXPECT_TRUE(is_readable(wake, 0));
  EXPECT_TRUE(is_readable(wake, 0)) << "looking at it does not use it up";
  wake.drain();
  EXPECT_FALSE(is_readable(wake, 0)) << "one drain takes all wakes";
  wake.drain();  // with nothing to drain it does not wait
}

TEST(Wake, WakesAThreadThatWaitsInPoll) {
  Wake wake;
  bool woken = false;
  std::thread waiter([&] { woken = is_readable(wake, -1); });
  wake.wake();
  waiter.join();
  EXPECT_TRUE(woken);
}

TEST(Wake, LeavesErrnoAlone) {
  Wake wake;
  errno = EINTR;
  wake.wake();
  EXPECT_EQ(errno, EINTR);
}

TEST(Wake, SaysThatItHasNoDescriptor) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  Wake wake;
  const int reason = errno;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_FALSE(wake);
  EXPECT_EQ(reason, EMFILE);
  wake.wake();
  wake.drain();
}

}  // namespace
}  // namespace godwit::wake_test
