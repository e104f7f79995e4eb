// TLS where a migration uses it: strangers, peers that cannot prove who they are, and whole moves of a fake VM.
#include <gmock/gmock.h>

#include <array>
#include <mutex>

#include "tests/support/wrapped_connections.h"
#include "tls/tls_channel.h"

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

class TlsStrangers : public testing::WrappedStrangers {
 protected:
  TlsStrangers()
      : testing::WrappedStrangers(tls_connected(context_of(TlsSide::kClient)),
                                  tls_accepted(context_of(TlsSide::kServer))) {}

  Result<Connection> connect_with(unsigned char key) {
    return tls_connected(context_of(TlsSide::kClient, key))(connect());
  }
  void expect_a_source_is_heard() {
    testing::WrappedStrangers::expect_a_source_is_heard();
    EXPECT_THAT(security_, HasSubstr("TLS 1.3"));
  }
};

TEST_F(TlsStrangers, ASourceIsHeardBesideThoseInTheMiddleOfTheirHandshake) {
  // How a handshake begins: what it goes on with is never said.
  const std::array<std::byte, 6> begun{std::byte{22}, std::byte{3}, std::byte{1},
                                       std::byte{1},  std::byte{0}, std::byte{1}};
  expect_a_source_is_heard_beside(60, begun);
  EXPECT_THAT(security_, HasSubstr("TLS 1.3"));
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

class TlsMigration : public testing::WrappedMigration {
 protected:
  static Wrap accepted() { return tls_accepted(context_of(TlsSide::kServer)); }
  static Wrap connected(unsigned char key = 1) { return tls_connected(context_of(TlsSide::kClient, key)); }
};

TEST_F(TlsMigration, MovesAGuestAndSaysWhatProtectedIt) {
  const auto [report, there] = expect_move(connected(), accepted());
  EXPECT_THAT(report.security, HasSubstr("TLS 1.3, "));
  EXPECT_EQ(there.security, report.security);
}

TEST_F(TlsMigration, ASourceInTheClearRunsOnAndIsToldWhy) {
  EXPECT_THAT(expect_source_runs_on(accepted()), HasSubstr("this side wants TLS"));
}

TEST_F(TlsMigration, ASourceWithAnotherKeyRunsOn) {
  connect_ = wrapped(connect_, connected(2));
  EXPECT_THAT(expect_source_runs_on(accepted()), HasSubstr("do not have the same key"));
}

}  // namespace
}  // namespace godwit::tls_connections_test
