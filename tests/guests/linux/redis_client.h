// A client of redis' protocol (RESP), as small as the load needs it: commands are queued and sent together, and their
// answers read in the same order.
//
// For one thread at a time. Once a call has failed the connection is broken, and all later ones fail too.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace godwit::guest {

class RedisClient {
 public:
  RedisClient() = default;
  ~RedisClient();
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  /// `path` is a Unix socket.
  bool connect(const std::string& path);
  /// Adds a command to those that send() sends.
  void queue(std::initializer_list<std::string_view> words);
  bool send();
  /// The next answer: what follows "+" or ":", or a string's bytes. Nothing for an error, for a string that is not
  /// there, and on a broken connection. Valid until the next call.
  std::optional<std::string_view> answer();
  bool connected() const noexcept { return socket_ >= 0; }

 private:
  void close() noexcept;
  bool receive_more();
  std::optional<std::string_view> line();

  int socket_ = -1;
  std::string out_;
  std::string in_;
  std::size_t read_ = 0;  // of in_, by answers given so far
};

}  // namespace godwit::guest
