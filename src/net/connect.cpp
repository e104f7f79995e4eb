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
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <iterator>

#include "base/wake.h"
#include "net/socket_channel.h"

namespace godwit {
namespace {

using SteadyClockTime = std::chrono::steady_clock::time_point;

// RFC 8305's: longer than most round trips, short to whoever waits.
constexpr Duration kStagger = std::chrono::milliseconds(250);
// Nothing else wakes who waits for room in the queue of a Unix socket.
constexpr Duration kLookForStop = std::chrono::milliseconds(100);

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

tl::unexpected<Error> stopped_connecting() {
  return fail(ErrorKind::kCancelled, "connect: interrupted");
}

Status make_blocking(int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  if (flags < 0 || ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) < 0) return fail_os("make a socket blocking");
  return {};
}

/// Attempts at several addresses, of which the first to succeed wins.
class Race {
 public:
  Race(std::span<const HostAddress> addresses, const Liveness& liveness, Duration timeout, const std::stop_token& stop)
      : addresses_(addresses), liveness_(liveness), timeout_(timeout), stop_(stop) {}
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
  const std::stop_token& stop_;
  std::optional<Wake> wake_;  ///< where somebody may stop it
  std::vector<Runner> running_;
  std::size_t next_ = 0;
  SteadyClockTime next_at_ = std::chrono::steady_clock::now();
  Error last_{ErrorKind::kNotFound, "the name has no address", 0};
  std::string reasons_;
};

Result<Connected> Race::run() {
  if (stop_.stop_possible()) wake_.emplace();
  const std::stop_callback on_stop(stop_, [this] {
    if (wake_) wake_->wake();
  });
  const auto deadline = std::chrono::steady_clock::now() + timeout_;
  while (true) {
    if (stop_.stop_requested()) return stopped_connecting();
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
  if (wake_) waiting.push_back({.fd = wake_->descriptor(), .events = POLLIN, .revents = 0});
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

bool same_address(const HostAddress& a, const HostAddress& b) {
  return a.size == b.size && std::memcmp(&a.storage, &b.storage, a.size) == 0;
}

void let_wait(int socket, Duration at_most) {
  const auto us = std::chrono::ceil<std::chrono::microseconds>(at_most).count();
  const timeval timeout{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

Result<UniqueFd> connect_unix(const Address& address, const Liveness& liveness, const std::stop_token& stop) {
  const sockaddr_un where = TRY(unix_socket_address(address.path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_os("socket");
  // KERNEL: a connect to a Unix socket whose backlog is full waits for SO_SNDTIMEO, then gives EAGAIN.
  let_wait(socket.get(), stop.stop_possible() ? kLookForStop : liveness.connect_timeout);
  const auto until = std::chrono::steady_clock::now() + liveness.connect_timeout;
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0) {
    if (stop.stop_requested()) return stopped_connecting();
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      if (std::chrono::steady_clock::now() < until) continue;
      return fail(ErrorKind::kPeerLost, no_answer("its queue is full", liveness.connect_timeout), ETIMEDOUT);
    }
    if (errno == ECONNREFUSED) return fail(unreachable("connect", errno));
    return fail(os_error("connect", errno));
  }
  let_wait(socket.get(), Duration::zero());  // for as long as it takes
  return socket;
}

}  // namespace

Result<Connected> connect_first(std::span<const HostAddress> addresses, const Liveness& liveness, Duration timeout,
                                const std::stop_token& stop) {
  return Race(addresses, liveness, timeout, stop).run();
}

Route::Route(Address to, const Liveness& liveness, Resolver resolver)
    : to_(std::move(to)), liveness_(liveness), resolver_(std::move(resolver)) {
  if (!resolver_) resolver_ = [](const Address& address) { return resolve(address, ResolveFor::kConnecting); };
}

Result<std::unique_ptr<Channel>> Route::connect(Whereto where, const std::stop_token& stop) {
  const std::string name = format_address(to_);
  return make_socket_channel(TRY_IN(name, connect_socket(where, stop)), name, liveness_);
}

Result<UniqueFd> Route::connect_socket(Whereto where, const std::stop_token& stop) {
  switch (to_.kind) {
    case Address::Kind::kTcp:
      return connect_tcp(where, stop);
    case Address::Kind::kUnix:
      return connect_unix(to_, liveness_, stop);
  }
  return fail(ErrorKind::kInvalidArgument, "an address of an unknown kind");
}

Result<UniqueFd> Route::connect_tcp(Whereto where, const std::stop_token& stop) {
  if (!names_a_peer(to_)) {
    return fail(ErrorKind::kInvalidArgument, "a host and a port other than 0 are needed to connect");
  }
  std::vector<HostAddress> addresses = known(where);
  const bool again = !addresses.empty();
  if (!again) addresses = TRY(resolver_(to_));
  const Duration timeout = again ? std::min(kAgain, liveness_.connect_timeout) : liveness_.connect_timeout;
  auto connected = TRY(connect_first(addresses, liveness_, timeout, stop));
  const std::lock_guard lock(mutex_);
  const auto is_it = [&](const HostAddress& a) { return same_address(a, connected.address); };
  if (known_.empty()) {
    const auto found = std::ranges::find_if(addresses, is_it);
    std::rotate(addresses.begin(), found, std::next(found));
    known_ = std::move(addresses);
  }
  latest_ = static_cast<std::size_t>(std::ranges::find_if(known_, is_it) - known_.begin());
  return std::move(connected.socket);
}

std::vector<HostAddress> Route::known(Whereto where) const {
  const std::lock_guard lock(mutex_);
  if (known_.empty() || where == Whereto::kAnyAddress) return known_;
  return {known_[where == Whereto::kAsAtFirst ? 0 : latest_]};
}

/// The channel may be gone when the stop comes, its socket is not.
Reconnect reconnecting(std::shared_ptr<Route> route, Wrap wrap) {
  return [route = std::move(route), wrap = std::move(wrap)](
             Whereto where, const std::stop_token& stop) -> Result<std::unique_ptr<Channel>> {
    auto channel = TRY(route->connect(where, stop));
    if (!wrap) return channel;
    const UniqueFd socket(::fcntl(channel->link().descriptor(), F_DUPFD_CLOEXEC, 0));
    if (!socket) return fail_os("duplicate a socket");
    const std::stop_callback on_stop(stop, [&socket] { ::shutdown(socket.get(), SHUT_RDWR); });
    return wrap(std::move(channel));
  };
}

Result<std::unique_ptr<Channel>> connect_to(const Address& address, const Liveness& liveness) {
  return Route(address, liveness).connect();
}

}  // namespace godwit
