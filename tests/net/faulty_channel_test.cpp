#include "tests/support/faulty_channel.h"

#include <gtest/gtest.h>

#include <thread>

namespace godwit::testing::faulty_channel_test {
namespace {

struct Ends {
  std::unique_ptr<FaultyChannel> faulty;
  std::unique_ptr<Channel> peer;
};

Ends make_ends(Fault fault) {
  auto pair = make_channel_pair();
  EXPECT_TRUE(pair);
  return {std::make_unique<FaultyChannel>(std::move(pair->first), fault), std::move(pair->second)};
}

TEST(FaultyChannel, WithoutAFaultPassesEverything) {
  const Ends ends = make_ends({});
  ASSERT_TRUE(send_bytes(*ends.faulty, bytes_of("hello")));
  std::vector<std::byte> got(5);
  ASSERT_TRUE(receive_bytes(*ends.peer, got));
  EXPECT_EQ(text_of(got), "hello");
  EXPECT_FALSE(ends.faulty->broken());
}

TEST(FaultyChannel, CutsInTheMiddleOfASend) {
  const Ends ends = make_ends({.kind = Fault::Kind::kCut, .after_sent = 7});
  ASSERT_TRUE(send_bytes(*ends.faulty, bytes_of("hello")));
  EXPECT_EQ(send_bytes(*ends.faulty, bytes_of("world")).error().kind, ErrorKind::kPeerLost);
  EXPECT_TRUE(ends.faulty->broken());
  std::vector<std::byte> got(7);
  ASSERT_TRUE(receive_bytes(*ends.peer, got));
  EXPECT_EQ(text_of(got), "hellowo");
  EXPECT_EQ(receive_bytes(*ends.peer, MutableBytes(got).first(1)).error().kind, ErrorKind::kPeerLost);
}

TEST(FaultyChannel, FailsWithoutTellingThePeer) {
  const Ends ends = make_ends({.kind = Fault::Kind::kFail, .after_received = 2});
  ASSERT_TRUE(send_bytes(*ends.peer, bytes_of("abc")));
  std::vector<std::byte> got(3);
  EXPECT_EQ(receive_bytes(*ends.faulty, got).error().kind, ErrorKind::kPeerLost);
  EXPECT_TRUE(send_bytes(*ends.peer, bytes_of("more")));
}

TEST(FaultyChannel, StallsUntilAborted) {
  const Ends ends = make_ends({.kind = Fault::Kind::kStall, .after_sent = 0});
  std::jthread stopper([&] {
    while (!ends.faulty->broken()) std::this_thread::yield();
    ends.faulty->abort();
  });
  EXPECT_EQ(send_bytes(*ends.faulty, bytes_of("x")).error().kind, ErrorKind::kCancelled);
}

}  // namespace
}  // namespace godwit::testing::faulty_channel_test
