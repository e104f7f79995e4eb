// See redis_client.h.
#include "redis_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>

namespace godwit::guest {
namespace {

constexpr std::string_view kEnd = "\r\n";
constexpr std::size_t kReceiveBytes = std::size_t{64} << 10;

// No record comes near it: a longer one means that the stream is out of step.
constexpr std::size_t kLongestString = std::size_t{1} << 20;

}  // namespace

RedisClient::~RedisClient() {
  close();
}

void RedisClient::close() noexcept {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

bool RedisClient::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return false;
  path.copy(address.sun_path, path.size());
  close();
  socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) close();
  return connected();
}

void RedisClient::queue(std::initializer_list<std::string_view> words) {
  out_.append("*").append(std::to_string(words.size())).append(kEnd);
  for (const std::string_view word : words) {
    out_.append("$").append(std::to_string(word.size())).append(kEnd).append(word).append(kEnd);
  }
}

bool RedisClient::send() {
  for (std::size_t sent = 0; connected() && sent < out_.size();) {
    const ssize_t n = ::send(socket_, out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) close();
    sent += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  out_.clear();
  return connected();
}

bool RedisClient::receive_more() {
  if (!connected()) return false;
  const std::size_t had = in_.size();
  in_.resize(had + kReceiveBytes);
  const ssize_t got = ::recv(socket_, in_.data() + had, kReceiveBytes, 0);
  in_.resize(had + (got > 0 ? static_cast<std::size_t>(got) : 0));
  if (got <= 0) close();
  return got > 0;
}

std::optional<std::string_view> RedisClient::line() {
  std::size_t end = in_.find(kEnd, read_);
  while (end == std::string::npos) {
    if (!receive_more()) return std::nullopt;
    end = in_.find(kEnd, read_);
  }
  const std::string_view found = std::string_view(in_).substr(read_, end - read_);
  read_ = end + kEnd.size();
  return found;
}

std::optional<std::string_view> RedisClient::answer() {
  in_.erase(0, read_);
  read_ = 0;
  const auto head = line();
  if (!head || head->empty() || head->front() == '-') return std::nullopt;
  if (head->front() != '$') return head->substr(1);
  long length = 0;
  std::from_chars(head->data() + 1, head->data() + head->size(), length);
  if (length < 0) return std::nullopt;
  const auto bytes = static_cast<std::size_t>(length);
  if (bytes > kLongestString) {
    close();
    return std::nullopt;
  }
  while (in_.size() < read_ + bytes + kEnd.size()) {
    if (!receive_more()) return std::nullopt;
  }
  const std::string_view found = std::string_view(in_).substr(read_, bytes);
  read_ += bytes + kEnd.size();
  return found;
}

}  // namespace godwit::guest
