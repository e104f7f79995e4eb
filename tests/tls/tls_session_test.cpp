#include "tls/tls_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace godwit::testing::tls_session_test {
namespace {

using ::testing::HasSubstr;

SharedKey key_of(unsigned char byte, const std::string& identity = "tests") {
  return {.identity = identity, .key = std::vector<unsigned char>(32, byte)};
}

/// Hands over what one side has to say, at most `most` bytes at a time; how many.
std::size_t pass(TlsSession& from, TlsSession& to, std::size_t most) {
  auto& output = from.output();
  const MutableBytes room = to.room();
  const std::size_t size = std::min({output.size(), room.size(), most});
  std::copy_n(output.begin(), size, room.begin());
  output.erase(output.begin(), output.begin() + static_cast<std::ptrdiff_t>(size));
  to.fed(size);
  return size;
}

/// Two sides, and the row of bytes between them.
class TwoSides : public ::testing::Test {
 protected:
  void make(Trust client, Trust server, std::string name = {}) {
    auto client_context = TlsContext::make(TlsSide::kClient, std::move(client), std::move(name));
    auto server_context = TlsContext::make(TlsSide::kServer, std::move(server), "");
    ASSERT_TRUE(client_context) << client_context.error().message;
    ASSERT_TRUE(server_context) << server_context.error().message;
    client_ = *TlsSession::make(*client_context, "the server");
    server_ = *TlsSession::make(*server_context, "the client");
  }

  /// Until neither has more to say.
  void shake_hands(std::size_t most = 100'000) {
    for (std::size_t passed = 1; passed > 0;) {
      client_done_ = client_->handshake();
      passed = pass(*client_, *server_, most);
      server_done_ = server_->handshake();
      passed += pass(*server_, *client_, most);
    }
    // What the server has against the client comes when the client's handshake is done.
    if (client_done_ && !server_done_) {
      std::array<std::byte, 1> room;
      if (const auto got = client_->decrypt(room); !got) client_done_ = fail(got.error());
    }
  }

  std::string said_to_server() {
    std::string text(1000, ' ');
    const auto got = server_->decrypt(std::as_writable_bytes(std::span(text)));
    if (!got) return got.error().message;
    text.resize(*got);
    return text;
  }

  std::unique_ptr<TlsSession> client_, server_;
  Result<bool> client_done_ = false, server_done_ = false;
};

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

TEST_F(TwoSides, SayWhenTheySayNoMore) {
  make(key_of(1), key_of(1));
  shake_hands();
  client_->finish();
  pass(*client_, *server_, 100'000);
  EXPECT_THAT(said_to_server(), HasSubstr("the peer closed the connection"));
}

}  // namespace
}  // namespace godwit::testing::tls_session_test
