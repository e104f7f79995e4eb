// Greetings, and what is said to those that are not peers.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "tests/wire/samples.h"
#include "wire/control.h"

namespace godwit::wire::testing::greeting_test {
namespace {

/// What receive_greeting() makes of these bytes; the peer then waits, as a client does that expects an answer.
Result<Greeting> greeted_with(Bytes bytes) {
  auto pair = make_channel_pair();
  EXPECT_TRUE(pair);
  EXPECT_TRUE(send_bytes(*pair->first, bytes));
  return receive_greeting(*pair->second, Deadline::in(std::chrono::milliseconds(30)));
}

std::vector<std::byte> valid_greeting() {
  auto pair = make_channel_pair();
  EXPECT_TRUE(pair);
  EXPECT_TRUE(send_greeting(*pair->first, {.role = Role::kLane, .lane = 3}));
  std::vector<std::byte> bytes(48);
  EXPECT_TRUE(receive_bytes(*pair->second, bytes));
  return bytes;
}

void expect_refused(Bytes bytes, std::string_view why) {
  const auto greeting = greeted_with(bytes);
  ASSERT_FALSE(greeting);
  EXPECT_EQ(greeting.error().kind, ErrorKind::kProtocol) << greeting.error().message;
  EXPECT_NE(greeting.error().message.find(why), std::string::npos) << greeting.error().message;
}

TEST(Greeting, ComesThroughAsSent) {
  const auto secret = random_secret();
  ASSERT_TRUE(secret);
  for (const Role role : {Role::kControl, Role::kLane}) {
    Greeting sent{.role = role, .secret = *secret};
    if (role == Role::kLane) sent.lane = 65535;
    auto pair = make_channel_pair();
    ASSERT_TRUE(pair);
    ASSERT_TRUE(send_greeting(*pair->first, sent));
    const auto got = receive_greeting(*pair->second);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(*got == sent);
    EXPECT_EQ(pair->second->link().bytes_received(), 48u) << "not a byte of what follows is taken";
  }
}

TEST(Greeting, StrangersAreToldApart) {
  const std::string no_peer = "this is not a Godwit peer";
  expect_refused(bytes_of("GET / HTTP/1.0\r\n\r\n"), no_peer + ": it began with 'GET / HT'");
  expect_refused(bytes_of("SSH-2.0-OpenSSH_9.2\r\n"), no_peer);
  expect_refused(std::vector<std::byte>(8), no_peer);
  expect_refused(std::vector<std::byte>(1000), no_peer + ": it began with '\\x00\\x00");
  std::mt19937_64 random(22);
  for (int i = 0; i < 100; ++i) {
    std::vector<std::byte> noise(48);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    expect_refused(noise, no_peer);
  }
}

TEST(Greeting, AnotherVersionIsNamed) {
  auto bytes = valid_greeting();
  bytes[8] = std::byte{9};
  expect_refused(bytes, "version 9 of Godwit's protocol, this side version 5");
  // Also when no more than the version comes: later versions may greet with less.
  expect_refused(Bytes(bytes).first(10), "version 9");
}

TEST(Greeting, EveryFieldIsChecked) {
  const struct {
    std::size_t at;
    std::uint8_t value;
    std::string_view why;
  } cases[] = {{10, 0, "unknown role, 0"},  {10, 4, "unknown role, 4"},     {10, 1, "greeted as lane 3"},
               {11, 1, "reserved bytes"},   {14, 1, "reserved bytes"},      {15, 1, "reserved bytes"},
               {6, 1, "not a Godwit peer"}, {7, '\r', "not a Godwit peer"}, {9, 1, "version 261"}};
  for (const auto& c : cases) {
    auto bytes = valid_greeting();
    bytes[c.at] = std::byte{c.value};
    expect_refused(bytes, c.why);
  }
}

TEST(Greeting, OneThatStopsShortTimesOut) {
  const auto bytes = valid_greeting();
  for (std::size_t length = 0; length < bytes.size(); length += 9) {
    const auto greeting = greeted_with(Bytes(bytes).first(length));
    ASSERT_FALSE(greeting);
    EXPECT_EQ(greeting.error().kind, ErrorKind::kTimedOut);
  }
}

TEST(Secret, OnlyTheSameIsTheSame) {
  const auto secret = random_secret();
  ASSERT_TRUE(secret);
  EXPECT_TRUE(same_secret(*secret, *secret));
  for (std::size_t bit = 0; bit < 8 * secret->size(); ++bit) {
    Secret other = *secret;
    other[bit / 8] ^= static_cast<std::byte>(1 << (bit % 8));
    EXPECT_FALSE(same_secret(*secret, other));
  }
}

TEST(Secret, IsNewEachTime) {
  const auto a = random_secret();
  const auto b = random_secret();
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(same_secret(*a, *b));
}

TEST(Greeting, APeerThatDripsIsNotWaitedForByteByByte) {
  auto pair = make_channel_pair();
  ASSERT_TRUE(pair);
  // Every byte comes in time for a limit on the next byte, and all of them are right.
  const auto bytes = valid_greeting();
  std::jthread dripper([&](std::stop_token stop) {
    for (std::size_t i = 0; i < bytes.size() && !stop.stop_requested(); ++i) {
      (void)send_bytes(*pair->first, Bytes(bytes).subspan(i, 1));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  });
  const auto greeting = receive_greeting(*pair->second, Deadline::in(std::chrono::milliseconds(300)));
  ASSERT_FALSE(greeting) << "its last byte was waited for";
  EXPECT_EQ(greeting.error().kind, ErrorKind::kTimedOut) << greeting.error().message;
  EXPECT_LT(pair->second->link().bytes_received(), bytes.size());
}

TEST(Greeting, OneThatComesInPiecesWithinTheLimitIsTaken) {
  auto pair = make_channel_pair();
  ASSERT_TRUE(pair);
  const auto bytes = valid_greeting();
  ASSERT_TRUE(send_bytes(*pair->first, Bytes(bytes).first(5)));
  ASSERT_TRUE(send_bytes(*pair->first, Bytes(bytes).subspan(5)));
  const auto greeting = receive_greeting(*pair->second, Deadline::in(std::chrono::seconds(60)));
  ASSERT_TRUE(greeting) << greeting.error().message;
  EXPECT_EQ(greeting->lane, 3);
}

}  // namespace
}  // namespace godwit::wire::testing::greeting_test
