// Connections that something is put around before they greet, as encryption would be, and as little of it as shows what
// the engine makes of them. tests/service has the same with TLS.
#include "tests/support/wrapped_connections.h"

#include <array>

#include "tests/support/scrambled_channel.h"

namespace godwit::wrapped_connections_test {
namespace {

using namespace std::chrono_literals;
using testing::ScrambledChannel;

constexpr std::array kHandshake{std::byte{'X'}, std::byte{'O'}, std::byte{'R'}, std::byte{7}};

class WrappedStrangers : public testing::WrappedStrangers {
 protected:
  WrappedStrangers() : testing::WrappedStrangers(ScrambledChannel::connected, ScrambledChannel::accepted) {}
};

TEST_F(WrappedStrangers, ASourceIsHeardBesideThoseInTheMiddleOfTheirHandshake) {
  expect_a_source_is_heard_beside(12, Bytes(kHandshake).first(3));
}

TEST_F(WrappedStrangers, AHandshakeIsPartOfTheTimeForTheGreeting) {
  const auto slow = connect();
  ASSERT_TRUE(send_bytes(*slow, Bytes(kHandshake).first(3)));
  expect_a_source_is_heard();  // so that the greeter has taken the one before
  clock_.advance(5s);
  EXPECT_TRUE(noted("it did not greet within 5 s"));
  std::array<std::byte, 1> byte;
  const Status got = receive_bytes(*slow, byte, 60s);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kPeerLost);
}

TEST_F(WrappedStrangers, AHandshakeMayComeInPieces) {
  const auto slow = connect();
  for (const std::byte& byte : kHandshake) {
    ASSERT_TRUE(send_bytes(*slow, {&byte, 1}));
    std::this_thread::sleep_for(1ms);
  }
  std::array<std::byte, kHandshake.size()> answer;
  EXPECT_TRUE(receive_bytes(*slow, answer, 60s));
  expect_a_source_is_heard();
}

TEST_F(WrappedStrangers, OneThatDoesNotShakeHandsIsTurnedAway) {
  const auto plain = connect();
  ASSERT_TRUE(wire::send_greeting(*plain, {.role = wire::Role::kControl}));
  EXPECT_TRUE(noted("the peer does not scramble"));
  expect_a_source_is_heard();
}

using WrappedMigration = testing::WrappedMigration;

TEST_F(WrappedMigration, MovesAGuestOverWrappedConnections) {
  expect_move(ScrambledChannel::connected, ScrambledChannel::accepted);
}

TEST_F(WrappedMigration, ASourceThatDoesNotShakeHandsRunsOn) {
  expect_source_runs_on(ScrambledChannel::accepted);
}

}  // namespace
}  // namespace godwit::wrapped_connections_test
