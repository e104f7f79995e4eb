#include "app/descriptors.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace godwit::descriptors_test {
namespace {

/// What `act` gives in a process with these limits.
template <typename Act>
bool with_limits(rlim_t soft, rlim_t hard, Act act) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{soft, hard};
    ::_exit(::setrlimit(RLIMIT_NOFILE, &limit) == 0 && act() ? 0 : 1);
  }
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(Descriptors, AreAsManyAsTheHostAllows) {
  EXPECT_TRUE(with_limits(100, 900, [] {
    if (!allow_descriptors(900)) return false;
    rlimit now{};
    return ::getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 900;
  }));
}

TEST(Descriptors, ThatAreTooFewAreNamed) {
  EXPECT_TRUE(with_limits(100, 900, [] {
    const Status few = allow_descriptors(901);
    return !few && few.error().kind == ErrorKind::kInvalidArgument &&
           few.error().message.find("may have 900 files") != std::string::npos &&
           few.error().message.find("901") != std::string::npos;
  }));
}

/// 1024 is a common limit, and 4 VMs side by side are the default.
TEST(Descriptors, AreEnoughByDefaultForWhatIsUsual) {
  EXPECT_LE(descriptors_for(4), 1024U);
  EXPECT_GT(descriptors_for(16), 1024U);
}

}  // namespace
}  // namespace godwit::descriptors_test
