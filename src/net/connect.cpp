// Connects to an address, in bounded time.
//
//   addresses of a name:  first ---connect---------------------- no answer
//                           +250 ms: second ---connect--- answers: taken, the others are closed
//
// So an address that does not answer costs a quarter of a second, and not the time after which it counts as dead.
#include "net/connect.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "net/socket_channel.h"

namespace godwit {
namespace {

using SteadyClockTime = std::chrono::steady_clock::time_point;

// RFC 8305's: longer than most round trips, short to whoever waits.
constexpr Duration kStagger = std::chrono::milliseconds(250);

std::string no_answer(std::string_view where, Duration after) {
  return fmt::format("{}: no answer within {:.3g} s", where, std::chrono::duration<double>(after).count());
}

/// What to do about it is the same for all of them, except for what this process lacks: the other host cannot be
/// reached. EACCES and EPERM come from firewalls and routing tables here.
Error unreachable(std::string_view where, int number) {
  Error error = os_error(where, number);
  const bool lacking = number == EMFILE || number == ENFILE || number == ENOMEM || number == ENOBUFS;
  if (!lacking) error.kind = ErrorKind::kPeerLost;
  return error;
}

Status make_blocking(int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) < 0) return fail_os("make a socket blocking");
  return {};
}

/// Attempts at several addresses, of which the first to succeed wins.
class Race {
 public:
  Race(std::span<const HostAddress> addresses, const Liveness& liveness, Duration timeout)
      : addresses_(addresses), liveness_(liveness), timeout_(timeout) {}
  Result<Connected> run();

 private:
  struct Runner {
    UniqueFd socket;
    std::size_t address;
  };
  Status start(std::size_t address);
  void wait(SteadyClockTime until);
  std::optional<Runner> finished();
  void failed(Error error);
  Result<Connected> win(Runner runner);

  std::span<const HostAddress> addresses_;
  const Liveness& liveness_;
  Duration timeout_;
  std::vector<Runner> running_;
  std::size_t next_ = 0;
  SteadyClockTime next_at_ = std::chrono::steady_clock::now();
  Error last_{ErrorKind::kNotFound, "the name has no address", 0};
  std::string reasons_;
};

Result<Connected> Race::run() {
  const auto deadline = std::chrono::steady_clock::now() + timeout_;
  while (true) {
    const auto now = std::chrono::steady_clock::now();
    if (next_ < addresses_.size() && (running_.empty() || now >= next_at_)) {
      if (Status started = start(next_++); !started) failed(std::move(started).error());
      next_at_ = now + kStagger;
    } else if (running_.empty()) {
      break;
    }
    if (auto winner = finished()) return win(std::move(*winner));
    if (now >= deadline) break;
    wait(next_ < addresses_.size() ? std::min(next_at_, deadline) : deadline);
  }
  for (const Runner& runner : running_) {
    failed({ErrorKind::kPeerLost, no_answer(numeric_host(addresses_[runner.address]), timeout_), ETIMEDOUT});
  }
  if (!reasons_.empty()) last_.message = reasons_;
  return fail(std::move(last_));
}

Status Race::start(std::size_t address) {
  const HostAddress& one = addresses_[address];
  const std::string where = numeric_host(one);
  UniqueFd socket(::socket(one.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(unreachable(where, errno));
  TRY_IN(where, set_tcp_options(socket.get(), liveness_));
  // After EINTR the connect goes on by itself, as after EINPROGRESS.
  if (::connect(socket.get(), one.get(), one.size) != 0 && errno != EINPROGRESS && errno != EINTR) {
    return fail(unreachable(where, errno));
  }
  running_.push_back({std::move(socket), address});
  return {};
}

/// Until a runner may have come in, or that time. While there are runners.
void Race::wait(SteadyClockTime until) {
  if (running_.empty()) return;
  std::vector<pollfd> waiting;
  for (const Runner& runner : running_) waiting.push_back({.fd = runner.socket.get(), .events = POLLOUT, .revents = 0});
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
  ::poll(waiting.data(), waiting.size(), static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX)));
}

/// A runner that has arrived, if there is one; those that have failed are dropped, and the next starts at once.
std::optional<Race::Runner> Race::finished() {
  for (auto runner = running_.begin(); runner != running_.end();) {
    pollfd now{.fd = runner->socket.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&now, 1, 0) <= 0) {
      ++runner;
      continue;
    }
    int error = 0;
    socklen_t size = sizeof error;
    if (::getsockopt(runner->socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error == 0) return std::move(*runner);
    Error why = unreachable(numeric_host(addresses_[runner->address]), error);
    // KERNEL: TCP_USER_TIMEOUT bounds the connect, too.
    if (error == ETIMEDOUT) why.message = numeric_host(addresses_[runner->address]) + ": no answer";
    failed(std::move(why));
    next_at_ = std::chrono::steady_clock::now();
    runner = running_.erase(runner);
  }
  return std::nullopt;
}

void Race::failed(Error error) {
  reasons_ += (reasons_.empty() ? "" : "; ") + error.message;
  last_ = std::move(error);
}

Result<Connected> Race::win(Runner runner) {
  TRY_IN(numeric_host(addresses_[runner.address]), make_blocking(runner.socket.get()));
  return Connected{std::move(runner.socket), addresses_[runner.address]};
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
    if (errno == EAGAIN) {
      return fail(ErrorKind::kPeerLost, no_answer("its queue is full", liveness.connect_timeout), ETIMEDOUT);
    }
    if (errno == ECONNREFUSED) return fail(unreachable("connect", errno));
    return fail(os_error("connect", errno));
  }
  const timeval for_ever{};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &for_ever, sizeof for_ever);
  return socket;
}

}  // namespace

Result<Connected> connect_first(std::span<const HostAddress> addresses, const Liveness& liveness, Duration timeout) {
  return Race(addresses, liveness, timeout).run();
}

Route::Route(Address to, const Liveness& liveness, Resolver resolver)
    : to_(std::move(to)), liveness_(liveness), resolver_(std::move(resolver)) {
  if (!resolver_) resolver_ = [](const Address& address) { return resolve(address, ResolveFor::kConnecting); };
}

Result<std::unique_ptr<Channel>> Route::connect() {
  const std::string name = format_address(to_);
  return make_socket_channel(TRY_IN(name, connect_socket()), name, liveness_);
}

Result<UniqueFd> Route::connect_socket() {
  switch (to_.kind) {
    case Address::Kind::kTcp:
      return connect_tcp();
    case Address::Kind::kUnix:
      return connect_unix(to_, liveness_);
  }
  return fail(ErrorKind::kInvalidArgument, "an address of an unknown kind");
}

Result<UniqueFd> Route::connect_tcp() {
  if (!names_a_peer(to_)) {
    return fail(ErrorKind::kInvalidArgument, "a host and a port other than 0 are needed to connect");
  }
  if (const auto known = answering()) {
    return std::move(TRY(connect_first({&*known, 1}, liveness_, std::min(kAgain, liveness_.connect_timeout))).socket);
  }
  const auto addresses = TRY(resolver_(to_));
  auto connected = TRY(connect_first(addresses, liveness_, liveness_.connect_timeout));
  const std::lock_guard lock(mutex_);
  if (!answering_) answering_ = connected.address;
  return std::move(connected.socket);
}

std::optional<HostAddress> Route::answering() const {
  const std::lock_guard lock(mutex_);
  return answering_;
}

Result<std::unique_ptr<Channel>> connect_to(const Address& address, const Liveness& liveness) {
  return Route(address, liveness).connect();
}

}  // namespace godwit
