// TLS where a migration uses it: strangers, peers that cannot prove who they are, and whole moves of a fake VM.
#include <gmock/gmock.h>

#include <future>
#include <mutex>
#include <thread>

#include "engine/broker.h"
#include "tests/support/fake_migration.h"
#include "tests/support/manual_clock.h"
#include "tls/tls_channel.h"
#include "wire/control.h"

namespace godwit::tls_connections_test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Trust key_of(unsigned char byte) {
  return SharedKey{.identity = "tests", .key = KeyBytes(32, byte)};
}

std::shared_ptr<TlsContext> context_of(TlsSide side, unsigned char byte = 1) {
  return TlsContext::make(side, key_of(byte), "").value();
}

class TlsStrangers : public ::testing::Test {
 protected:
  using Connection = std::unique_ptr<Channel>;

  Connection connect() { return std::move(connect_to(listener_->address()).value()); }
  Result<Connection> connect_with(unsigned char key) {
    return tls_connected(context_of(TlsSide::kClient, key))(connect());
  }
  bool noted(const std::string& what) {
    for (const auto end = SteadyClock().now() + 60s; SteadyClock().now() < end; std::this_thread::sleep_for(5ms)) {
      const std::lock_guard lock(mutex_);
      if (notes_.find(what) != std::string::npos) return true;
    }
    return false;
  }
  void expect_a_source_is_heard() {
    auto channel = connect_with(1);
    ASSERT_TRUE(channel) << channel.error().message;
    wire::Hello hello{.lanes = 1, .program = "a test's source"};
    hello.fingerprint.blocks.push_back({"ram", 1 << 20, 4096});
    ASSERT_TRUE(wire::send_greeting(**channel, {.role = wire::Role::kControl}));
    ASSERT_TRUE(wire::ControlConnection(**channel).send(hello));
    auto place = broker_.await_source({});
    ASSERT_TRUE(place) << place.error().message;
    EXPECT_TRUE(place->source().hello == hello);
    EXPECT_THAT(place->source().control->link().security(), HasSubstr("TLS 1.3"));
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
                 tls_accepted(context_of(TlsSide::kServer))};
};

TEST_F(TlsStrangers, ASourceIsHeardBesideThoseInTheMiddleOfTheirHandshake) {
  std::vector<Connection> strangers;
  // How a handshake begins: what it goes on with is never said.
  const std::array<std::byte, 6> begun{std::byte{22}, std::byte{3}, std::byte{1},
                                       std::byte{1},  std::byte{0}, std::byte{1}};
  for (std::size_t i = 0; i < 60; ++i) {
    strangers.push_back(connect());
    ASSERT_TRUE(send_bytes(*strangers.back(), Bytes(begun).first(i % (begun.size() + 1))));
  }
  // No clock has moved: nobody's deadline was waited for.
  expect_a_source_is_heard();
}

TEST_F(TlsStrangers, ThatSayRubbishAreTurnedAway) {
  const auto rubbish = connect();
  ASSERT_TRUE(send_bytes(*rubbish, std::as_bytes(std::span("GET / HTTP/1.0\r\n\r\n"))));
  EXPECT_TRUE(noted("sends in the clear"));  // as the first letter of Godwit's greeting has it
  const auto other = connect();
  ASSERT_TRUE(send_bytes(*other, std::as_bytes(std::span("SSH-2.0-OpenSSH\r\n"))));
  EXPECT_TRUE(noted("does not speak TLS"));
  expect_a_source_is_heard();
}

/// Which a handshake record's header and rubbish in it are not.
TEST_F(TlsStrangers, ThatBreakOffInTheMiddleAreTurnedAway) {
  for (std::size_t length = 1; length <= 40; ++length) {
    std::vector<std::byte> bytes(length, std::byte{0x17});
    bytes[0] = std::byte{22};
    const auto stranger = connect();
    ASSERT_TRUE(send_bytes(*stranger, bytes));
  }
  EXPECT_TRUE(noted("does not speak TLS"));
  expect_a_source_is_heard();
}

TEST_F(TlsStrangers, AGodwitInTheClearIsToldWhy) {
  const auto plain = connect();
  ASSERT_TRUE(wire::send_greeting(*plain, {.role = wire::Role::kControl}));
  const auto answer = wire::ControlConnection(*plain).receive(Deadline::in(60s));
  ASSERT_TRUE(answer) << answer.error().message;
  const auto* refusal = std::get_if<wire::Refusal>(&*answer);
  ASSERT_NE(refusal, nullptr);
  EXPECT_THAT(refusal->reason, HasSubstr("sends in the clear, and this side wants TLS"));
  EXPECT_THAT(refusal->reason, HasSubstr("--insecure-plain"));
  EXPECT_TRUE(noted("sends in the clear"));
  expect_a_source_is_heard();
}

TEST_F(TlsStrangers, OneWithAnotherKeyIsToldWhy) {
  const auto other = connect_with(2);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(other.error().message, HasSubstr("do not have the same key"));
  EXPECT_TRUE(noted("do not have the same key"));
  expect_a_source_is_heard();
}

TEST(TlsToAPlainSink, IsToldWhy) {
  const auto listener = std::move(listen_on(parse_address("tcp://127.0.0.1:0").value()).value());
  testing::ManualClock clock;
  std::mutex mutex;
  std::string notes;
  Broker broker(*listener, clock, 1, [&](std::string_view note) {
    const std::lock_guard lock(mutex);
    notes += note;
  });
  const auto channel = tls_connected(context_of(TlsSide::kClient))(std::move(connect_to(listener->address()).value()));
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.error().kind, ErrorKind::kPeerLost);
  EXPECT_THAT(channel.error().message, HasSubstr("is `godwit receive` there started with --tls-dir or --tls-psk"));
  const std::lock_guard lock(mutex);
  EXPECT_THAT(notes, HasSubstr("the peer speaks TLS, and this side does not"));
}

class TlsMigration : public testing::FakeMigration {
 protected:
  std::future<SinkReport> receive(unsigned char key) {
    auto parts = sink_parts(sink_);
    parts.wrap = tls_accepted(context_of(TlsSide::kServer, key));
    parts.cancelled = stop_.get_token();
    return std::async(std::launch::async, [parts] { return run_sink(parts); });
  }
  std::stop_source stop_;
};

TEST_F(TlsMigration, MovesAGuestAndSaysWhatProtectedIt) {
  connect_ = wrapped(connect_, tls_connected(context_of(TlsSide::kClient)));
  auto received = receive(1);
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_THAT(report.security, HasSubstr("TLS 1.3, "));
  const auto there = received.get();
  EXPECT_EQ(there.outcome, Outcome::kDone);
  EXPECT_EQ(there.security, report.security);
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

TEST_F(TlsMigration, ASourceInTheClearRunsOnAndIsToldWhy) {
  auto received = receive(1);
  const auto report = send(steady_);
  expect_source_runs_alone(report);
  EXPECT_THAT(report.error.value_or(Error{}).message, HasSubstr("this side wants TLS"));
  stop_.request_stop();
  EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns);
}

TEST_F(TlsMigration, ASourceWithAnotherKeyRunsOn) {
  connect_ = wrapped(connect_, tls_connected(context_of(TlsSide::kClient, 2)));
  auto received = receive(1);
  const auto report = send(steady_);
  expect_source_runs_alone(report);
  EXPECT_THAT(report.error.value_or(Error{}).message, HasSubstr("do not have the same key"));
  stop_.request_stop();
  EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns);
}

}  // namespace
}  // namespace godwit::tls_connections_test
