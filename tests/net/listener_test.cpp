// Listening and connecting: what goes wrong and how it is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/unique_fd.h"
#include "net/accept_errors.h"
#include "net/channel.h"
#include "net/socket_channel.h"
#include "tests/net/channel_kinds.h"

namespace godwit::testing::listener_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

Address tcp(const std::string& host, std::uint16_t port = 0) {
  return {.kind = Address::Kind::kTcp, .host = host, .port = port, .path = {}};
}
Address unix_at(const std::string& path) {
  return {.kind = Address::Kind::kUnix, .host = {}, .port = 0, .path = path};
}

void expect_connects(Listener& listener, const Address& address) {
  auto near = connect_to(address);
  ASSERT_TRUE(near) << near.error().message;
  auto far = listener.accept(seconds(10));
  ASSERT_TRUE(far) << far.error().message;
  const std::byte sent{7};
  ASSERT_TRUE(send_bytes(**near, {&sent, 1}));
  std::byte got{};
  ASSERT_TRUE(receive_bytes(**far, {&got, 1}));
  EXPECT_EQ(got, sent);
}

/// A port of 127.0.0.1 where nobody listens: bound, so that nobody else takes it, but deaf.
class DeafPort {
 public:
  DeafPort() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  int socket() const { return socket_.get(); }
  std::uint16_t port() const { return port_; }

 private:
  UniqueFd socket_;
  std::uint16_t port_ = 0;
};

TEST(Listener, TellsItsRealPort) {
  auto listener = listen_on(tcp("127.0.0.1"));
  ASSERT_TRUE(listener) << listener.error().message;
  EXPECT_EQ((*listener)->address().host, "127.0.0.1");
  EXPECT_NE((*listener)->address().port, 0);
  expect_connects(**listener, (*listener)->address());
}

TEST(Listener, AnEmptyHostListensEverywhere) {
  auto listener = listen_on(tcp(""));
  ASSERT_TRUE(listener) << listener.error().message;
  expect_connects(**listener, tcp("127.0.0.1", (*listener)->address().port));
  if (has_ipv6_loopback()) expect_connects(**listener, tcp("::1", (*listener)->address().port));
}

TEST(Listener, ANameIsTriedAtAllItsAddresses) {
  auto listener = listen_on(tcp("127.0.0.1"));
  ASSERT_TRUE(listener) << listener.error().message;
  expect_connects(**listener, tcp("localhost", (*listener)->address().port));
}

TEST(Listener, AcceptTimesOut) {
  auto listener = listen_on(tcp("127.0.0.1"));
  ASSERT_TRUE(listener) << listener.error().message;
  const auto nobody = (*listener)->accept(milliseconds(20));
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().kind, ErrorKind::kTimedOut);
}

TEST(Listener, AbortWakesAcceptAndIsForGood) {
  auto listener = listen_on(tcp("127.0.0.1"));
  ASSERT_TRUE(listener) << listener.error().message;
  std::jthread stopper([&] { (*listener)->abort(); });
  for (int i = 0; i < 2; ++i) {
    const auto nobody = (*listener)->accept(Duration::zero());
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().kind, ErrorKind::kCancelled);
  }
}

/// A kernel that has no room for one more answers it only at its next try, a second later: with a flood of strangers
/// before the door, a source would wait for many seconds, or give up.
TEST(Listener, HundredsMayWaitToBeTakenAndOneMoreIsNotDelayed) {
  int most = 0;
  std::ifstream("/proc/sys/net/core/somaxconn") >> most;
  if (most < 1024) GTEST_SKIP() << "this host lets no more than " << most << " wait";
  const auto listener = std::move(listen_on(tcp("127.0.0.1")).value());
  std::vector<std::unique_ptr<Channel>> strangers;
  for (int i = 0; i < 600; ++i) {
    auto stranger = connect_to(listener->address(), {.connect_timeout = milliseconds(800)});
    ASSERT_TRUE(stranger) << i << ": " << stranger.error().message;
    strangers.push_back(std::move(*stranger));
  }
}

/// A service that listened no more would cancel all that it does.
TEST(Listener, OnlyWhatIsWrongWithItselfEndsIt) {
  for (const int number : {EBADF, EINVAL, ENOTSOCK}) EXPECT_TRUE(ends_listening(number)) << number;
  for (const int number : {EPERM, ETIMEDOUT, ESOCKTNOSUPPORT, EPROTONOSUPPORT, ECONNABORTED, EPROTO, ENETDOWN, EMFILE,
                           ENFILE, ENOBUFS, ENOMEM, EAGAIN, EINTR, EIO}) {
    EXPECT_FALSE(ends_listening(number)) << number;
  }
  for (const int number : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) EXPECT_TRUE(is_shortage(number)) << number;
  EXPECT_FALSE(is_shortage(EPERM));
}

TEST(Listener, ATakenPortIsNamed) {
  auto first = listen_on(tcp("127.0.0.1"));
  ASSERT_TRUE(first) << first.error().message;
  const auto second = listen_on((*first)->address());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().os_error, EADDRINUSE);
  EXPECT_THAT(second.error().message, HasSubstr(format_address((*first)->address())));
}

TEST(Listener, AUnixSocketFileIsRemovedAtTheEnd) {
  const TemporaryFolder folder;
  const std::string path = folder.path("socket");
  {
    auto listener = listen_on(unix_at(path));
    ASSERT_TRUE(listener) << listener.error().message;
    EXPECT_TRUE(std::filesystem::is_socket(path));
    expect_connects(**listener, unix_at(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Listener, ADeadUnixSocketFileIsReplaced) {
  const TemporaryFolder folder;
  const std::string path = folder.path("socket");
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto where = unix_socket_address(path);
    ASSERT_TRUE(where);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&*where), sizeof *where), 0);
  }
  ASSERT_TRUE(std::filesystem::is_socket(path));
  auto listener = listen_on(unix_at(path));
  ASSERT_TRUE(listener) << listener.error().message;
  expect_connects(**listener, unix_at(path));
}

TEST(Listener, ALiveUnixSocketIsLeftAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.path("socket");
  auto first = listen_on(unix_at(path));
  ASSERT_TRUE(first) << first.error().message;
  const auto second = listen_on(unix_at(path));
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("another program listens there"));
  // That attempt left a connection that is closed already; the next one is ours.
  ASSERT_TRUE((*first)->accept(seconds(10)));
  expect_connects(**first, unix_at(path));
}

TEST(Listener, AFileThatIsNoSocketIsLeftAlone) {
  const TemporaryFolder folder;
  const std::string path = folder.path("precious");
  std::ofstream(path) << "bytes";
  const auto listener = listen_on(unix_at(path));
  ASSERT_FALSE(listener);
  EXPECT_THAT(listener.error().message, HasSubstr("not a socket"));
  EXPECT_EQ(std::filesystem::file_size(path), 5u);
}

TEST(Listener, ASocketFileOfAnotherIsNotRemovedAtTheEnd) {
  const TemporaryFolder folder;
  const std::string path = folder.path("socket");
  auto first = listen_on(unix_at(path));
  ASSERT_TRUE(first) << first.error().message;
  std::filesystem::remove(path);
  auto second = listen_on(unix_at(path));
  ASSERT_TRUE(second) << second.error().message;
  first->reset();
  EXPECT_TRUE(std::filesystem::is_socket(path));
}

TEST(Connect, ARefusalNamesAddressAndReason) {
  const DeafPort deaf;
  const auto channel = connect_to(tcp("127.0.0.1", deaf.port()));
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.error().os_error, ECONNREFUSED);
  EXPECT_THAT(channel.error().message, HasSubstr("tcp://127.0.0.1:" + std::to_string(deaf.port())));
  EXPECT_THAT(channel.error().message, HasSubstr("Connection refused"));
}

TEST(Connect, AMissingSocketFileIsNotFound) {
  const TemporaryFolder folder;
  const auto channel = connect_to(unix_at(folder.path("nothing")));
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(channel.error().message, HasSubstr(folder.path("nothing")));
}

TEST(Connect, AnUnknownNameIsNotFound) {
  // RFC 6761: no name below .invalid exists. A numeric-looking one with a bad byte needs no resolver at all.
  const auto channel = connect_to(tcp("256.256.256.256.invalid", 1), {.connect_timeout = seconds(1)});
  ASSERT_FALSE(channel);
  EXPECT_THAT(channel.error().message, HasSubstr("256.256.256.256.invalid"));
}

TEST(Connect, NeedsAHostAndAPort) {
  for (const Address& address : {tcp("", 80), tcp("127.0.0.1", 0)}) {
    const auto channel = connect_to(address);
    ASSERT_FALSE(channel);
    EXPECT_EQ(channel.error().kind, ErrorKind::kInvalidArgument);
  }
}

TEST(Connect, APeerThatNeverAnswersTimesOut) {
  // A full backlog: the kernel drops further connection requests without a word.
  const DeafPort full;
  ASSERT_EQ(::listen(full.socket(), 0), 0);
  std::vector<std::unique_ptr<Channel>> fillers;
  const Liveness impatient{.connect_timeout = milliseconds(100)};
  for (int i = 0; i < 20; ++i) {
    auto channel = connect_to(tcp("127.0.0.1", full.port()), impatient);
    if (channel) {
      fillers.push_back(std::move(*channel));
      continue;
    }
    EXPECT_EQ(channel.error().kind, ErrorKind::kPeerLost) << channel.error().message;
    EXPECT_THAT(channel.error().message, HasSubstr("no answer within 0.1 s"));
    return;
  }
  FAIL() << "20 connections fit into a backlog of 0";
}

int option(int socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket, level, name, &value, &size), 0);
  return value;
}

TEST(Liveness, SetsTheTimersOfTcp) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct Case {
    Duration dead_after;
    int user_timeout_ms;
  };
  for (const Case& c : {Case{milliseconds(300), 300}, Case{seconds(6), 6000}, Case{seconds(60), 60000}}) {
    ASSERT_TRUE(set_tcp_options(socket.get(), {.dead_after = c.dead_after}));
    EXPECT_NE(option(socket.get(), IPPROTO_TCP, TCP_NODELAY), 0);
    EXPECT_NE(option(socket.get(), SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(option(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT), c.user_timeout_ms);
    const int idle = option(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE);
    const int until_dead =
        idle + option(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL) * option(socket.get(), IPPROTO_TCP, TCP_KEEPCNT);
    EXPECT_GE(until_dead, std::chrono::ceil<seconds>(c.dead_after).count());
    EXPECT_LE(until_dead, std::chrono::ceil<seconds>(c.dead_after).count() + 1);
  }
}

}  // namespace
}  // namespace godwit::testing::listener_test
