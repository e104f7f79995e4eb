// Listens on TCP and Unix sockets.
//
//   accept() waits in poll on { the listening socket, a Wake }; abort() wakes it and nobody drains it, so every later
//   accept() fails too.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <optional>
#include <thread>

#include "base/wake.h"
#include "net/accept_errors.h"
#include "net/resolve.h"
#include "net/socket_channel.h"
#include "net/unix_socket_file.h"

namespace godwit {
namespace {

// A migration brings one connection per lane and one for control within a moment. The rest is for strangers: where they
// fill the queue, the kernel lets a source's connection wait for its next try, 1 s, 3 s and 7 s later. Those that are
// taken first and turned away cost a fraction of a millisecond each.
constexpr int kBacklog = 1024;
// After an error of accept(2) that may come again at once.
constexpr auto kAcceptRest = std::chrono::milliseconds(10);

class SocketListener final : public Listener {
 public:
  static Result<std::unique_ptr<Listener>> open(const Address& address, const Liveness& liveness);

  Result<std::unique_ptr<Channel>> accept(Duration timeout) override;
  void abort() noexcept override { wake_.wake(); }
  int descriptor() const noexcept override { return both_.get(); }
  Address address() const override { return address_; }

 private:
  SocketListener(const Address& address, const Liveness& liveness) : address_(address), liveness_(liveness) {}
  Status open_socket();
  Status open_tcp();
  Status open_one(const HostAddress& one);
  Status open_unix();
  Status set_options(int taken) const;
  /// Whether a connection may be there to take; false: wait again.
  Result<bool> wait(std::optional<std::chrono::steady_clock::time_point> deadline);

  Address address_;
  Liveness liveness_;
  UnixSocketFile file_;
  UniqueFd socket_;
  Wake wake_;
  UniqueFd both_;  ///< an epoll of the two
};

Status SocketListener::open_one(const HostAddress& one) {
  const std::string where = numeric_host(one);
  UniqueFd socket(::socket(one.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_os(where);
  const int yes = 1;
  const int no = 0;
  // A sink started again at once must get its port although old connections linger.
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  // "::" takes IPv4 too, whatever the host's default is.
  if (one.family() == AF_INET6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
  if (::bind(socket.get(), one.get(), one.size) != 0) return fail_os(where);
  if (::listen(socket.get(), kBacklog) != 0) return fail_os(where);

  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) return fail_os(where);
  address_.port = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(bound).sin6_port
                                                    : reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  socket_ = std::move(socket);
  return {};
}

Status SocketListener::open_tcp() {
  auto candidates = TRY(resolve(address_, ResolveFor::kListening));
  // Everywhere means an IPv6 socket, which takes IPv4 too, where there is IPv6.
  if (address_.host.empty()) {
    std::stable_partition(candidates.begin(), candidates.end(),
                          [](const HostAddress& one) { return one.family() == AF_INET6; });
  }
  std::string reasons;
  Error last{ErrorKind::kNotFound, "the name has no address", 0};
  for (const HostAddress& one : candidates) {
    auto opened = open_one(one);
    if (opened) return {};
    last = std::move(opened).error();
    reasons += (reasons.empty() ? "" : "; ") + last.message;
  }
  if (!reasons.empty()) last.message = reasons;
  return fail(std::move(last));
}

Status SocketListener::open_unix() {
  UniqueFd socket = TRY(file_.bind(address_.path));
  if (::listen(socket.get(), kBacklog) != 0) return fail_os("listen");
  socket_ = std::move(socket);
  return {};
}

Status SocketListener::open_socket() {
  switch (address_.kind) {
    case Address::Kind::kTcp:
      return open_tcp();
    case Address::Kind::kUnix:
      return open_unix();
  }
  return fail(ErrorKind::kInvalidArgument, "an address of an unknown kind");
}

/// What an accepted connection is given before anybody uses it.
Status SocketListener::set_options(int taken) const {
  switch (address_.kind) {
    case Address::Kind::kTcp:
      return set_tcp_options(taken, liveness_);
    case Address::Kind::kUnix:
      return {};
  }
  return {};
}

Result<std::unique_ptr<Listener>> SocketListener::open(const Address& address, const Liveness& liveness) {
  std::unique_ptr<SocketListener> listener(new SocketListener(address, liveness));
  if (!listener->wake_) return fail_os("eventfd");
  TRY_IN("listen on " + format_address(address), listener->open_socket());
  listener->both_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!listener->both_) return fail_os("epoll");
  for (const int one : {listener->socket_.get(), listener->wake_.descriptor()}) {
    epoll_event readable{.events = EPOLLIN, .data = {}};
    if (::epoll_ctl(listener->both_.get(), EPOLL_CTL_ADD, one, &readable) != 0) return fail_os("epoll");
  }
  return std::unique_ptr<Listener>(std::move(listener));
}

Result<bool> SocketListener::wait(std::optional<std::chrono::steady_clock::time_point> deadline) {
  int ms = -1;
  if (deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail(ErrorKind::kTimedOut, format_address(address_) + ": nobody connected in time");
    ms = static_cast<int>(std::min<std::int64_t>(left.count(), INT_MAX));
  }
  std::array<pollfd, 2> waiting{{{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                 {.fd = wake_.descriptor(), .events = POLLIN, .revents = 0}}};
  const int ready = ::poll(waiting.data(), waiting.size(), ms);
  if (ready < 0 && errno != EINTR) return fail_os("wait for a connection");
  if (ready > 0 && waiting[1].revents != 0) {
    return fail(ErrorKind::kCancelled, format_address(address_) + ": listening was aborted");
  }
  return ready > 0 && waiting[0].revents != 0;
}

std::string name_of_peer(const sockaddr_storage& peer, const Address& listening) {
  char host[INET6_ADDRSTRLEN];
  const void* numeric = nullptr;
  in_port_t port = 0;
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    numeric = &v4.sin_addr;
    port = v4.sin_port;
  } else if (peer.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
    numeric = &v6.sin6_addr;
    port = v6.sin6_port;
  }
  if (numeric == nullptr || ::inet_ntop(peer.ss_family, numeric, host, sizeof host) == nullptr) {
    return "a client of " + format_address(listening);
  }
  return format_address({.kind = Address::Kind::kTcp, .host = host, .port = ntohs(port), .path = {}});
}

Result<std::unique_ptr<Channel>> SocketListener::accept(Duration timeout) {
  std::optional<std::chrono::steady_clock::time_point> deadline;
  if (timeout > Duration::zero()) deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const bool ready = TRY(wait(deadline));
    if (!ready) continue;
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    UniqueFd taken(::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
    if (!taken) {
      const int number = errno;
      if (ends_listening(number) || is_shortage(number)) {
        return fail(os_error("accept on " + format_address(address_), number));
      }
      // One that the kernel would not give away is there still: not all the time for it.
      if (number != EAGAIN && number != EINTR) std::this_thread::sleep_for(kAcceptRest);
      continue;
    }
    // A connection that is gone already must not end the listening: its channel will say so.
    if (!set_options(taken.get())) continue;
    return make_socket_channel(std::move(taken), name_of_peer(peer, address_), liveness_);
  }
}

}  // namespace

Result<std::unique_ptr<Listener>> listen_on(const Address& address, const Liveness& liveness) {
  return SocketListener::open(address, liveness);
}

}  // namespace godwit
