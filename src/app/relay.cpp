// `godwit relay --socket PATH`: started by ssh for each connection of a move with --ssh-data. It knows nothing of what
// it carries, and it ends with either side.
//
//   standard input  ---> socket   its end is passed on; the other direction goes on
//   standard output <--- socket   its end is this program's
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/say.h"
#include "net/channel.h"
#include "remote/remote_lanes.h"

namespace godwit {

namespace {

// A pipe's, times four: more would only be bytes that wait here.
constexpr std::size_t kRelayBytes = 256 * 1024;
// Once the socket has been closed: for whoever reads standard output. Where a link is dead sshd takes nothing more for
// many minutes.
constexpr int kLastWordsMilliseconds = 10'000;

/// After a call that failed: whether it is made again, once the descriptor is ready.
bool try_again(int fd, short what_for) {
  if (errno == EINTR) return true;
  if (errno != EAGAIN) return false;
  pollfd look{fd, what_for, 0};
  return ::poll(&look, 1, -1) >= 0 || errno == EINTR;
}

/// Until all of it is written, or nobody takes it any more.
bool write_all(int to, const char* bytes, std::size_t count) {
  while (count > 0) {
    const ssize_t written = ::write(to, bytes, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes += written;
    count -= static_cast<std::size_t>(written);
  }
  return true;
}

void carry_in(int socket) {
  const auto bytes = std::make_unique<std::array<char, kRelayBytes>>();
  while (true) {
    const ssize_t got = ::read(STDIN_FILENO, bytes->data(), bytes->size());
    if (got < 0 && try_again(STDIN_FILENO, POLLIN)) continue;
    if (got <= 0 || !write_all(socket, bytes->data(), static_cast<std::size_t>(got))) break;
  }
  ::shutdown(socket, SHUT_WR);
}

/// Waits until standard output takes more; for ever while the socket is open at its other end, not for long after.
bool await_reader(int socket) {
  std::array<pollfd, 2> look{{{STDOUT_FILENO, POLLOUT, 0}, {socket, 0, 0}}};
  while (::poll(look.data(), look.size(), -1) < 0) {
    if (errno != EINTR) return false;
  }
  if (look[0].revents != 0) return true;
  return ::poll(look.data(), 1, kLastWordsMilliseconds) > 0;
}

void carry_out(int socket) {
  const auto bytes = std::make_unique<std::array<char, kRelayBytes>>();
  while (true) {
    const ssize_t got = ::read(socket, bytes->data(), bytes->size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    for (std::size_t sent = 0; sent < static_cast<std::size_t>(got);) {
      if (!await_reader(socket)) return;
      const ssize_t written = ::write(STDOUT_FILENO, bytes->data() + sent, static_cast<std::size_t>(got) - sent);
      if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (written <= 0) return;
      sent += static_cast<std::size_t>(written);
    }
  }
}

}  // namespace

int run_relay(const RelayOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);
  const std::string started = std::string(kRelayIsStarted) + "\n";
  if (!write_all(STDOUT_FILENO, started.data(), started.size())) return to_int(ExitCode::kFailed);
  pollfd first{STDIN_FILENO, POLLIN, 0};
  while (::poll(&first, 1, -1) < 0 && errno == EINTR) {
  }
  const auto channel = connect_to({.kind = Address::Kind::kUnix, .host = {}, .path = options.socket});
  if (!channel) {
    say(stderr, fmt::format("godwit relay: {}\n", channel.error().message));
    return to_int(ExitCode::kFailed);
  }
  const int socket = (*channel)->link().descriptor();
  // A full pipe must not hold it up for ever. Standard input may be the same socket, and does not wait then either.
  ::fcntl(STDOUT_FILENO, F_SETFL, ::fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
  std::thread([socket] { carry_in(socket); }).detach();
  carry_out(socket);
  // Not by return: nobody takes what the other thread still waits for.
  ::_exit(to_int(ExitCode::kDone));
}

}  // namespace godwit
