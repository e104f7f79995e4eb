// Connections by remote shells that are shell scripts here; `cat` is the other side that says everything back.
#include "remote/remote_lanes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <thread>

namespace godwit::remote_lanes_test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kStarted = "echo 'godwit relay 1'; ";

class RemoteLanesTest : public ::testing::Test {
 protected:
  RemoteLanesTest() { std::signal(SIGPIPE, SIG_IGN); }
  static std::unique_ptr<RemoteLanes> lanes(const std::string& script) {
    return std::make_unique<RemoteLanes>(std::vector<std::string>{"sh", "-c", script}, "host-b by sh",
                                         UniqueFd(::open("/dev/null", O_WRONLY | O_CLOEXEC)));
  }
  static Error failure(const std::string& script, std::stop_token cancelled = {}) {
    const Status opened = lanes(script)->open(2, 1s, cancelled);
    EXPECT_FALSE(opened.has_value()) << script;
    return opened ? Error{} : opened.error();
  }
};

TEST_F(RemoteLanesTest, CarryWhatComesAfterTheNoiseOfALogin) {
  const auto some = lanes(std::string("echo Welcome; ") + kStarted + "exec cat");
  const Status opened = some->open(3, 20s, {});
  ASSERT_TRUE(opened) << opened.error().message;
  for (int i = 0; i < 3; ++i) {
    const auto channel = some->connect();
    ASSERT_TRUE(channel) << channel.error().message;
    const std::array<std::byte, 3> said{std::byte{1}, std::byte{0}, std::byte(i)};
    ASSERT_TRUE(send_bytes(**channel, said));
    std::array<std::byte, 3> heard{};
    ASSERT_TRUE(receive_bytes(**channel, heard, 20s));
    EXPECT_EQ(heard, said);
  }
  const auto more = some->connect();
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().kind, ErrorKind::kPeerLost);
}

TEST_F(RemoteLanesTest, SayWhatKeepsThemFromOpening) {
  EXPECT_EQ(failure("exit 255").kind, ErrorKind::kPeerLost);
  EXPECT_NE(failure("exit 255").message.find("host-b by sh: it has started no `godwit relay`"), std::string::npos);
  EXPECT_EQ(failure("sleep 60").kind, ErrorKind::kTimedOut);
  EXPECT_EQ(failure("yes").kind, ErrorKind::kProtocol);
  EXPECT_EQ(failure("head -c 1000000 /dev/zero; sleep 60").kind, ErrorKind::kProtocol);
  std::stop_source stop;
  const std::jthread later([&] {
    std::this_thread::sleep_for(50ms);
    stop.request_stop();
  });
  EXPECT_EQ(failure("sleep 60", stop.get_token()).kind, ErrorKind::kCancelled);
}

TEST_F(RemoteLanesTest, EndAsAPeerThatHasClosed) {
  const auto some = lanes(std::string(kStarted) + "read -r line");
  ASSERT_TRUE(some->open(1, 20s, {}));
  const auto channel = some->connect();
  ASSERT_TRUE(channel);
  const std::array<std::byte, 1> line{std::byte{'\n'}};
  ASSERT_TRUE(send_bytes(**channel, line));
  std::array<std::byte, 1> heard{};
  const Status got = receive_bytes(**channel, heard, 20s);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kPeerLost);
}

TEST_F(RemoteLanesTest, LeaveNoChildBehind) {
  for (const char* script : {"exec cat", "trap '' TERM; while :; do sleep 1; done"}) {
    {
      const auto some = lanes(std::string(kStarted) + script);
      ASSERT_TRUE(some->open(2, 20s, {}));
      some->end(100ms);
    }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << script;
    EXPECT_EQ(errno, ECHILD) << script;
  }
}

}  // namespace
}  // namespace godwit::remote_lanes_test
