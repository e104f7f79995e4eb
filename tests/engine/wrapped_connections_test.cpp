// Connections that something is put around before they greet, as encryption would be: a handshake of its own, which a
// stranger may draw out or get wrong, and a whole migration.
#include <future>
#include <mutex>
#include <thread>

#include "engine/broker.h"
#include "tests/support/fake_migration.h"
#include "tests/support/manual_clock.h"
#include "tests/support/scrambled_channel.h"
#include "wire/control.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using testing::ScrambledChannel;

constexpr std::array kHandshake{std::byte{'X'}, std::byte{'O'}, std::byte{'R'}, std::byte{7}};

class WrappedStrangers : public ::testing::Test {
 protected:
  using Connection = std::unique_ptr<Channel>;

  Connection connect() { return std::move(connect_to(listener_->address()).value()); }
  bool noted(const std::string& what) {
    for (const auto end = SteadyClock().now() + 60s; SteadyClock().now() < end; std::this_thread::sleep_for(5ms)) {
      const std::lock_guard lock(mutex_);
      if (notes_.find(what) != std::string::npos) return true;
    }
    return false;
  }
  /// A source that does all as it should be done, and is heard.
  void expect_a_source_is_heard() {
    auto channel = ScrambledChannel::connected(connect());
    ASSERT_TRUE(channel) << channel.error().message;
    wire::Hello hello{.lanes = 1, .program = "a test's source"};
    hello.fingerprint.blocks.push_back({"ram", 1 << 20, 4096});
    ASSERT_TRUE(wire::send_greeting(**channel, {.role = wire::Role::kControl}));
    ASSERT_TRUE(wire::ControlConnection(**channel).send(hello));
    auto place = broker_.await_source({});
    ASSERT_TRUE(place) << place.error().message;
    EXPECT_TRUE(place->source().hello == hello);
    // What is said to it is wrapped, too.
    ASSERT_TRUE(wire::ControlConnection(*place->source().control).send(wire::Prepared{}));
    const auto answer = wire::ControlConnection(**channel).receive();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_TRUE(std::holds_alternative<wire::Prepared>(*answer));
  }

  std::unique_ptr<Listener> listener_ = std::move(listen_on(parse_address("tcp://127.0.0.1:0").value()).value());
  testing::ManualClock clock_;
  std::mutex mutex_;
  std::string notes_;
  Broker broker_{*listener_, clock_, 1,
                 [this](std::string_view note) {
                   const std::lock_guard lock(mutex_);
                   notes_ += std::string(note) + "\n";
                 },
                 ScrambledChannel::accepted};
};

TEST_F(WrappedStrangers, ASourceIsHeardBesideThoseInTheMiddleOfTheirHandshake) {
  std::vector<Connection> strangers;
  for (std::size_t i = 0; i < 12; ++i) {
    strangers.push_back(connect());
    ASSERT_TRUE(send_bytes(*strangers.back(), Bytes(kHandshake).first(i % kHandshake.size())));
  }
  // No clock has moved: nobody's deadline was waited for.
  expect_a_source_is_heard();
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

using WrappedMigration = testing::FakeMigration;

TEST_F(WrappedMigration, MovesAGuestOverWrappedConnections) {
  connect_ = wrapped(connect_, ScrambledChannel::connected);
  auto parts = sink_parts(sink_);
  parts.wrap = ScrambledChannel::accepted;
  auto received = std::async(std::launch::async, [&] { return run_sink(parts); });
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

TEST_F(WrappedMigration, ASourceThatDoesNotShakeHandsRunsOn) {
  std::stop_source stop;
  auto parts = sink_parts(sink_);
  parts.wrap = ScrambledChannel::accepted;
  parts.cancelled = stop.get_token();
  auto received = std::async(std::launch::async, [&] { return run_sink(parts); });
  expect_source_runs_alone(send(steady_));
  stop.request_stop();
  EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns);
}

}  // namespace
}  // namespace godwit
