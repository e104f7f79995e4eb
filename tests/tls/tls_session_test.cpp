#include "tls/tls_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tls/two_sides.h"

namespace godwit::testing::tls_session_test {
namespace {

using ::testing::HasSubstr;

TEST_F(TwoSides, WithTheSameKeyUnderstandEachOther) {
  make(key_of(1), key_of(1));
  shake_hands();
  ASSERT_TRUE(client_done_) << client_done_.error().message;
  ASSERT_TRUE(server_done_) << server_done_.error().message;
  EXPECT_TRUE(*client_done_ && *server_done_);
  EXPECT_THAT(client_->description(), HasSubstr("TLS 1.3, "));
  EXPECT_THAT(client_->description(), HasSubstr("shared key 'tests'"));
  EXPECT_EQ(client_->description(), server_->description());
  const std::string secret = "a page of the guest";
  ASSERT_TRUE(client_->encrypt(std::as_bytes(std::span(secret))));
  const auto& wire = client_->output();
  const std::string_view on_the_wire(reinterpret_cast<const char*>(wire.data()), wire.size());
  EXPECT_EQ(on_the_wire.find(secret), std::string_view::npos);
  pass(*client_, *server_, 100'000);
  EXPECT_EQ(said_to_server(), secret);
}

TEST_F(TwoSides, ThatHearEachOtherByteByByteUnderstandEachOther) {
  make(key_of(1), key_of(1));
  shake_hands(1);
  ASSERT_TRUE(client_done_ && server_done_);
  EXPECT_TRUE(*client_done_ && *server_done_);
}

TEST_F(TwoSides, WithDifferentKeysAreToldToUseTheSame) {
  make(key_of(1), key_of(2));
  shake_hands();
  ASSERT_FALSE(server_done_);
  EXPECT_EQ(server_done_.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(server_done_.error().message, HasSubstr("do not have the same key"));
  ASSERT_FALSE(client_done_);
  EXPECT_EQ(client_done_.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(client_done_.error().message, HasSubstr("do not have the same key"));
}

TEST_F(TwoSides, WithKeysOfDifferentNamesAreToldToUseTheSame) {
  make(key_of(1, "mine"), key_of(1, "yours"));
  shake_hands();
  ASSERT_FALSE(server_done_);
  EXPECT_EQ(server_done_.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(server_done_.error().message, HasSubstr("--tls-psk"));
  ASSERT_FALSE(client_done_);
  EXPECT_THAT(client_done_.error().message, HasSubstr("--tls-psk"));
}

/// A record whose bytes have been changed on the way is not taken for what was said.
TEST_F(TwoSides, NoticeAChangedByte) {
  make(key_of(1), key_of(1));
  shake_hands();
  ASSERT_TRUE(client_done_ && server_done_);
  const std::string secret(500, 'x');
  ASSERT_TRUE(client_->encrypt(std::as_bytes(std::span(secret))));
  client_->output()[100] ^= std::byte{1};
  pass(*client_, *server_, 100'000);
  EXPECT_THAT(said_to_server(), HasSubstr("TLS with the client"));
}

TEST_F(TwoSides, ChangeTheirKeysAfterSoManyRecords) {
  std::vector<std::size_t> on_the_wire;
  for (const std::uint64_t records_a_key : {TlsSession::kRecordsAKey, std::uint64_t{7}}) {
    const auto client = TlsContext::make(TlsSide::kClient, key_of(1), "").value();
    const auto server = TlsContext::make(TlsSide::kServer, key_of(1), "").value();
    client_ = TlsSession::make(client, "the server", records_a_key).value();
    server_ = TlsSession::make(server, "the client").value();
    shake_hands();
    on_the_wire.push_back(0);
    for (int i = 0; i < 50; ++i) {
      const std::string piece(500, static_cast<char>('a' + i % 26));
      ASSERT_TRUE(client_->encrypt(std::as_bytes(std::span(piece))));
      on_the_wire.back() += pass(*client_, *server_, 100'000);
      ASSERT_EQ(said_to_server(), piece) << i;
    }
  }
  EXPECT_GT(on_the_wire[1], on_the_wire[0]) << "nothing was said of another key";
}

/// Also where good bytes came with them.
TEST_F(TwoSides, KeepTheReasonOfAFailureUntilWhatCameBeforeHasBeenTaken) {
  make(key_of(1), key_of(1));
  shake_hands();
  const std::string good(100, 'g'), bad(100, 'b');
  ASSERT_TRUE(client_->encrypt(std::as_bytes(std::span(good))));
  const std::size_t end_of_good = client_->output().size();
  ASSERT_TRUE(client_->encrypt(std::as_bytes(std::span(bad))));
  client_->output()[end_of_good + 30] ^= std::byte{1};
  pass(*client_, *server_, 100'000);
  EXPECT_EQ(said_to_server(), good);
  for (int again = 0; again < 2; ++again) EXPECT_THAT(said_to_server(), HasSubstr("bad record mac"));
}

/// As another program, or an old one, would begin.
TEST_F(TwoSides, SayThatAPeerKnowsOnlyTls12) {
  make(key_of(1), key_of(1));
  const OwnedSslContext old(SSL_CTX_new(TLS_client_method()));
  ASSERT_EQ(SSL_CTX_set_max_proto_version(old.get(), TLS1_2_VERSION), 1);
  const OwnedSsl peer(SSL_new(old.get()));
  BIO* const said = BIO_new(BIO_s_mem());
  SSL_set_bio(peer.get(), BIO_new(BIO_s_mem()), said);
  SSL_set_connect_state(peer.get());
  SSL_do_handshake(peer.get());
  const MutableBytes room = server_->room();
  const int size = BIO_read(said, room.data(), static_cast<int>(room.size()));
  ASSERT_GT(size, 0);
  server_->fed(static_cast<std::size_t>(size));
  const auto done = server_->handshake();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(done.error().message, HasSubstr("it does not speak TLS 1.3"));
  EXPECT_FALSE(server_->output().empty()) << "nobody told it";
}

TEST_F(TwoSides, SayWhenTheySayNoMore) {
  make(key_of(1), key_of(1));
  shake_hands();
  client_->finish();
  pass(*client_, *server_, 100'000);
  EXPECT_THAT(said_to_server(), HasSubstr("the peer closed the connection"));
}

}  // namespace
}  // namespace godwit::testing::tls_session_test
