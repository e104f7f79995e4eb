// Two sides of TLS, and the rows of bytes between them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "tls/tls_session.h"

namespace godwit::testing {

inline SharedKey key_of(unsigned char byte, const std::string& identity = "tests") {
  return {.identity = identity, .key = KeyBytes(32, byte)};
}

/// Hands over what one side has to say, at most `most` bytes at a time; how many.
inline std::size_t pass(TlsSession& from, TlsSession& to, std::size_t most) {
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

  /// Until neither has more to say; how many bytes they have said.
  std::size_t shake_hands(std::size_t most = 100'000) {
    std::size_t all = 0;
    for (std::size_t passed = 1; passed > 0; all += passed) {
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
    return all;
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

}  // namespace godwit::testing
