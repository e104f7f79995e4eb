// One channel for TCP, Unix sockets and socket pairs.
//
//   write() -> sendmsg, poll if full --> kernel
//   read()  <- recv, poll if empty <---- kernel
//   abort()  -> flag, shutdown(SHUT_RDWR): both wake up, see the flag, and fail with kCancelled
//
// The descriptor stays open until the channel is destroyed, so abort() can never hit somebody else's descriptor.
#include "net/socket_channel.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>

#include "net/socket_link.h"

namespace godwit {
namespace {

// What one sendmsg takes. IOV_MAX is 1024; a chunk's header and pages are far fewer, so a small window is enough.
constexpr std::size_t kPartsPerCall = 128;
static_assert(kPartsPerCall <= IOV_MAX);

/// For poll(2): up to so long.
int poll_milliseconds(Duration wait) {
  if (wait == Duration::max()) return -1;
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  return static_cast<int>(std::clamp<decltype(ms)>(ms, 0, INT_MAX));
}

double in_seconds(Duration time) {
  return std::chrono::duration<double>(time).count();
}

/// KERNEL: what a router or a firewall on the way answers to a connection that had been there is kept, and told in
/// place of the time-out that ends it.
bool is_loss_of_established(int number) noexcept {
  return number == ENOTCONN || number == ECONNREFUSED || number == EACCES || number == ENOPROTOOPT || number == ENONET;
}

class SocketChannel final : public Channel {
 public:
  SocketChannel(UniqueFd socket, std::string peer, Duration dead_after)
      : link_(std::move(socket), std::move(peer)), dead_after_(dead_after) {}

  Status write(std::span<const iovec> parts, const Deadline& until) override;
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override;
  Status shut_down() override;
  void abort() noexcept override {
    aborted_ = true;
    ::shutdown(socket(), SHUT_RDWR);
  }
  Link& link() noexcept override { return link_; }

 private:
  int socket() const noexcept { return link_.descriptor(); }
  const std::string& peer() const noexcept { return link_.peer(); }
  Status await_room(const Deadline& until);
  Status await_bytes(const Deadline& until) const;
  tl::unexpected<Error> too_late(std::size_t have, std::size_t wanted, const Deadline& until) const;
  tl::unexpected<Error> failed(std::string_view what, int number) const;
  tl::unexpected<Error> ended() const;

  SocketLink link_;
  Duration dead_after_;  ///< without a byte taken; Duration::max(): the kernel's timers tell
  std::atomic<bool> aborted_{false};
};

/// The error of a failed call; an abort explains every failure that comes after it.
tl::unexpected<Error> SocketChannel::failed(std::string_view what, int number) const {
  if (aborted_) return fail(ErrorKind::kCancelled, fmt::format("{} {}: the connection was aborted", what, peer()));
  Error error = os_error(fmt::format("{} {}", what, peer()), number);
  if (is_loss_of_established(number)) error.kind = ErrorKind::kPeerLost;
  return fail(std::move(error));
}

tl::unexpected<Error> SocketChannel::ended() const {
  if (aborted_) return failed("receive from", 0);
  return fail(ErrorKind::kPeerLost, fmt::format("receive from {}: the peer closed the connection", peer()));
}

/// A window of the parts not sent yet that moves on by what each call took.
class Unsent {
 public:
  explicit Unsent(std::span<const iovec> parts) : parts_(parts) { skip_empty(); }
  bool done() const noexcept { return parts_.empty(); }

  std::span<iovec> window() noexcept {
    const std::size_t count = std::min(parts_.size(), window_.size());
    std::copy_n(parts_.begin(), count, window_.begin());
    window_[0].iov_base = static_cast<char*>(window_[0].iov_base) + into_first_;
    window_[0].iov_len -= into_first_;
    return {window_.data(), count};
  }

  void advance(std::size_t bytes) noexcept {
    while (!parts_.empty() && bytes >= parts_.front().iov_len - into_first_) {
      bytes -= parts_.front().iov_len - into_first_;
      into_first_ = 0;
      parts_ = parts_.subspan(1);
    }
    into_first_ += bytes;
  }

 private:
  void skip_empty() noexcept { advance(0); }

  std::span<const iovec> parts_;
  std::size_t into_first_ = 0;
  std::array<iovec, kPartsPerCall> window_;
};

Status SocketChannel::write(std::span<const iovec> parts, const Deadline& until) {
  if (aborted_) return failed("send to", 0);
  for (Unsent unsent(parts); !unsent.done();) {
    const auto window = unsent.window();
    msghdr message{};
    message.msg_iov = window.data();
    message.msg_iovlen = window.size();
    const ssize_t taken = ::sendmsg(socket(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return failed("send to", errno);
      TRY(await_room(until));
      continue;
    }
    link_.count_sent(static_cast<std::size_t>(taken));
    unsent.advance(static_cast<std::size_t>(taken));
  }
  return {};
}

/// Timed apart from the kernel's copying, which is work and no wait.
Status SocketChannel::await_room(const Deadline& until) {
  const auto began = std::chrono::steady_clock::now();
  Duration waited{};
  while (true) {
    if (waited >= dead_after_) {
      return fail(ErrorKind::kPeerLost,
                  fmt::format("send to {}: it took nothing for {:.3g} s", peer(), in_seconds(dead_after_)));
    }
    if (until.over()) {
      return fail(ErrorKind::kTimedOut,
                  fmt::format("send to {}: it did not take all within {:.3g} s", peer(), in_seconds(until.allowed())));
    }
    const Duration left = dead_after_ == Duration::max() ? dead_after_ : dead_after_ - waited;
    pollfd waiting{.fd = socket(), .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&waiting, 1, poll_milliseconds(std::min(left, until.wait())));
    if (ready < 0 && errno != EINTR) return failed("wait to send to", errno);
    waited = std::chrono::steady_clock::now() - began;
    if (ready > 0) break;
  }
  link_.count_wait(waited);
  return {};
}

Result<std::size_t> SocketChannel::read(MutableBytes room, std::size_t at_least, const Deadline& until) {
  if (aborted_) return failed("receive from", 0);
  at_least = std::min(at_least, room.size());
  // Where all of it is waited for without a deadline, the kernel may gather it.
  const int flags = at_least == room.size() && until.is_never() ? MSG_WAITALL : MSG_DONTWAIT;
  for (std::size_t have = 0; !room.empty();) {
    const bool over = until.over();  // asked first: what came before is not late
    const ssize_t got = ::recv(socket(), room.data(), room.size(), flags);
    if (got == 0) return ended();
    if (got > 0) {
      link_.count_received(static_cast<std::size_t>(got));
      have += static_cast<std::size_t>(got);
      room = room.subspan(static_cast<std::size_t>(got));
      if (have >= at_least) return have;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return failed("receive from", errno);
    if (at_least == 0) break;
    if (over) return too_late(have, at_least, until);
    TRY(await_bytes(until));
  }
  return std::size_t{0};
}

/// Until there are bytes, or it is time to ask the deadline again.
Status SocketChannel::await_bytes(const Deadline& until) const {
  pollfd waiting{.fd = socket(), .events = POLLIN, .revents = 0};
  const int ready = ::poll(&waiting, 1, poll_milliseconds(until.wait()));
  if (ready < 0 && errno != EINTR) return failed("wait for", errno);
  if (aborted_) return failed("receive from", 0);
  return {};
}

tl::unexpected<Error> SocketChannel::too_late(std::size_t have, std::size_t wanted, const Deadline& until) const {
  const double seconds = in_seconds(until.allowed());
  return fail(ErrorKind::kTimedOut,
              have == 0
                  ? fmt::format("receive from {}: nothing came for {:.3g} s", peer(), seconds)
                  : fmt::format("receive from {}: {} of {} bytes came within {:.3g} s", peer(), have, wanted, seconds));
}

Status SocketChannel::shut_down() {
  if (aborted_) return failed("finish sending to", 0);
  if (::shutdown(socket(), SHUT_WR) != 0) return failed("finish sending to", errno);
  return {};
}

}  // namespace

std::unique_ptr<Channel> make_socket_channel(UniqueFd socket, std::string peer, const Liveness& liveness) {
  int family = AF_UNIX;
  socklen_t size = sizeof family;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &family, &size);
  // KERNEL: TCP sockets have TCP_USER_TIMEOUT, which tells a slow peer from a dead one better.
  const bool timed = family == AF_UNIX && liveness.dead_after > Duration::zero();
  return std::make_unique<SocketChannel>(std::move(socket), std::move(peer),
                                         timed ? liveness.dead_after : Duration::max());
}

Status send_bytes(Channel& channel, Bytes bytes, const Deadline& until) {
  // sendmsg never writes through iov_base.
  const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  return channel.write({&part, 1}, until);
}

Status receive_bytes(Channel& channel, MutableBytes exactly, Duration silence) {
  if (silence <= Duration::zero()) {
    TRY(channel.read(exactly, exactly.size(), Deadline::never()));
    return {};
  }
  while (!exactly.empty()) exactly = exactly.subspan(TRY(channel.read(exactly, 1, Deadline::in(silence))));
  return {};
}

Result<std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>>> make_channel_pair(const Liveness& liveness) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail_os("socketpair");
  UniqueFd left(ends[0]);
  UniqueFd right(ends[1]);
  return std::pair(make_socket_channel(std::move(left), "the other end of a pair", liveness),
                   make_socket_channel(std::move(right), "the other end of a pair", liveness));
}

}  // namespace godwit
