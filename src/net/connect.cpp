// Connects to an address, in bounded time.
//
// A name may stand for several addresses; each gets its share of the time that is left, so that one that answers
// nothing does not use up the others'.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "net/resolve.h"
#include "net/socket_channel.h"

namespace godwit {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

Error timed_out(std::string_view where, Duration after) {
  return Error{ErrorKind::kTimedOut,
               fmt::format("{}: no answer within {:.3g} s", where, std::chrono::duration<double>(after).count()),
               ETIMEDOUT};
}

/// Waits until a connect(2) under way has ended, and gives its errno; ETIMEDOUT when `deadline` comes first.
int await_connected(int socket, SteadyTime deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return ETIMEDOUT;
    pollfd waiting{.fd = socket, .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::min<std::int64_t>(left, INT_MAX)));
    if (ready < 0 && errno != EINTR) return errno;
    if (ready <= 0) continue;
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
    return error;
  }
}

Status make_blocking(int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) < 0) return fail_os("make a socket blocking");
  return {};
}

Result<UniqueFd> connect_one(const addrinfo& one, const Liveness& liveness, Duration timeout) {
  const std::string where = numeric_host(one);
  UniqueFd socket(::socket(one.ai_family, one.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, one.ai_protocol));
  if (!socket) return fail_os(where);
  TRY_IN(where, set_tcp_options(socket.get(), liveness));
  if (::connect(socket.get(), one.ai_addr, one.ai_addrlen) != 0) {
    // After EINTR the connect goes on by itself, as after EINPROGRESS.
    if (errno != EINPROGRESS && errno != EINTR) return fail_os(where);
    const int error = await_connected(socket.get(), std::chrono::steady_clock::now() + timeout);
    if (error == ETIMEDOUT) return fail(timed_out(where, timeout));
    if (error != 0) return fail(os_error(where, error));
  }
  TRY_IN(where, make_blocking(socket.get()));
  return socket;
}

Result<UniqueFd> connect_tcp(const Address& address, const Liveness& liveness) {
  if (address.host.empty() || address.port == 0) {
    return fail(ErrorKind::kInvalidArgument, "a host and a port other than 0 are needed to connect");
  }
  const auto list = TRY(resolve(address, ResolveFor::kConnecting));
  std::int64_t untried = 0;
  for (const addrinfo* one = list.get(); one != nullptr; one = one->ai_next) ++untried;

  const auto deadline = std::chrono::steady_clock::now() + liveness.connect_timeout;
  Error last{ErrorKind::kNotFound, "the name has no address", 0};
  std::string reasons;
  for (const addrinfo* one = list.get(); one != nullptr; one = one->ai_next, --untried) {
    const Duration left = deadline - std::chrono::steady_clock::now();
    auto socket = connect_one(*one, liveness, std::max(Duration::zero(), left / untried));
    if (socket) return socket;
    last = std::move(socket).error();
    reasons += (reasons.empty() ? "" : "; ") + last.message;
  }
  if (!reasons.empty()) last.message = reasons;
  return fail(std::move(last));
}

Result<UniqueFd> connect_unix(const Address& address, const Liveness& liveness) {
  const sockaddr_un where = TRY(unix_socket_address(address.path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_os("socket");
  // KERNEL: a connect to a Unix socket whose backlog is full waits for SO_SNDTIMEO, then gives EAGAIN.
  const auto us = std::chrono::ceil<std::chrono::microseconds>(liveness.connect_timeout).count();
  const timeval timeout{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN) return fail(timed_out("its queue is full", liveness.connect_timeout));
    return fail(os_error("connect", errno));
  }
  const timeval for_ever{};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &for_ever, sizeof for_ever);
  return socket;
}

}  // namespace

Result<std::unique_ptr<Channel>> connect_to(const Address& address, const Liveness& liveness) {
  const std::string name = format_address(address);
  auto socket = TRY_IN(
      name, address.kind == Address::Kind::kTcp ? connect_tcp(address, liveness) : connect_unix(address, liveness));
  return make_socket_channel(std::move(socket), name);
}

}  // namespace godwit
