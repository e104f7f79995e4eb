#include "app/control_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "app/control_desk.h"
#include "app/control_request.h"

namespace godwit {

namespace {
// `godwit control` asks at once and takes its answer at once; a program that asks now and then connects again.
constexpr auto kClientPatience = std::chrono::seconds(10);
}  // namespace

ControlClient::ControlClient(UniqueFd socket, Instant now)
    : socket_(std::move(socket)), deadline_(now + kClientPatience) {}

short ControlClient::awaits() const noexcept {
  return out_.empty() ? POLLIN : POLLOUT;
}

/// Asks for more only when the answer before has been taken, so that no answers heap up.
bool ControlClient::go_on(const Answer& answer, Instant now) {
  if (out_.empty() && !read()) return false;
  if (!write()) return false;
  while (out_.empty() && !last_ && answer_lines(answer)) {
    deadline_ = now + kClientPatience;
    if (!write()) return false;
  }
  return !(last_ && out_.empty());
}

/// False at its end, or where more has come than a request is long.
bool ControlClient::read() {
  std::array<char, kLongestRequest> room;
  const ssize_t got = ::recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  in_.append(room.data(), static_cast<std::size_t>(got));
  return true;
}

/// One line at a time.
bool ControlClient::answer_lines(const Answer& answer) {
  const std::size_t end = in_.find('\n');
  if (end == std::string::npos && in_.size() <= kLongestRequest) return false;
  if (end == std::string::npos || end > kLongestRequest) {
    last_ = true;
    out_ = refusal_line("control: this is too long for a request") + "\n";
    return true;
  }
  out_ = answer(std::string_view(in_).substr(0, end)) + "\n";
  in_.erase(0, end + 1);
  return true;
}

bool ControlClient::write() {
  while (!out_.empty()) {
    const ssize_t put = ::send(socket_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0) return errno == EAGAIN || errno == EINTR;
    out_.erase(0, static_cast<std::size_t>(put));
  }
  return true;
}

}  // namespace godwit
