// One channel for TCP, Unix sockets and socket pairs.
//
//   sender   -> sendmsg, poll if full --> kernel
//   receiver <- recv, poll if timed <---- kernel
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

namespace godwit {
namespace {

// What one sendmsg takes. IOV_MAX is 1024; a chunk's header and pages are far fewer, so a small window is enough.
constexpr std::size_t kPartsPerCall = 128;
static_assert(kPartsPerCall <= IOV_MAX);

int poll_milliseconds(Duration timeout) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  return static_cast<int>(std::clamp<decltype(ms)>(ms, 1, INT_MAX));
}

class SocketChannel final : public Channel {
 public:
  SocketChannel(UniqueFd socket, std::string peer, Duration send_timeout)
      : socket_(std::move(socket)), peer_(std::move(peer)), send_timeout_(send_timeout) {}

  Status send(std::span<const iovec> parts) override;
  Status receive(MutableBytes exactly) override;
  Result<std::size_t> receive_some(MutableBytes room) override;
  int descriptor() const noexcept override { return socket_.get(); }
  Status finish_sending() override;

  void abort() noexcept override {
    aborted_ = true;
    ::shutdown(socket_.get(), SHUT_RDWR);
  }
  void set_receive_timeout(Duration timeout) noexcept override { receive_timeout_ = timeout; }
  std::uint64_t bytes_sent() const noexcept override { return sent_.load(std::memory_order_relaxed); }
  std::uint64_t bytes_received() const noexcept override { return received_.load(std::memory_order_relaxed); }
  SendWaits send_waits() const noexcept override { return waits_; }
  SendQueue send_queue() noexcept override {
    // The kernel forgets after some minutes, in which a queue of our own may have been part of all round trips.
    const Duration seen = shortest_round_trip(socket_.get());
    if (round_trip_ == Duration::zero() || seen < round_trip_) round_trip_ = seen;
    return {unconfirmed_bytes(socket_.get()), round_trip_};
  }

 private:
  Status wait_for_room();
  Status wait_for_bytes(Duration timeout);
  tl::unexpected<Error> failed(std::string_view what, int number) const;
  tl::unexpected<Error> ended() const;

  UniqueFd socket_;
  std::string peer_;
  Duration send_timeout_;  ///< zero: the kernel's
  std::atomic<bool> aborted_{false};
  std::atomic<Duration> receive_timeout_{Duration::zero()};
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> received_{0};
  SendWaits waits_;
  Duration round_trip_{};  ///< the shortest one seen
  Duration held_back_{};   ///< by the receiver, when last asked
};

/// The error of a failed call; an abort explains every failure that comes after it.
tl::unexpected<Error> SocketChannel::failed(std::string_view what, int number) const {
  if (aborted_) return fail(ErrorKind::kCancelled, fmt::format("{} {}: the connection was aborted", what, peer_));
  Error error = os_error(fmt::format("{} {}", what, peer_), number);
  if (number == ENOTCONN) error.kind = ErrorKind::kPeerLost;
  return fail(std::move(error));
}

tl::unexpected<Error> SocketChannel::ended() const {
  if (aborted_) return failed("receive from", 0);
  return fail(ErrorKind::kPeerLost, fmt::format("receive from {}: the peer closed the connection", peer_));
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

Status SocketChannel::send(std::span<const iovec> parts) {
  if (aborted_) return failed("send to", 0);
  for (Unsent unsent(parts); !unsent.done();) {
    const auto window = unsent.window();
    msghdr message{};
    message.msg_iov = window.data();
    message.msg_iovlen = window.size();
    const ssize_t taken = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (taken < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return failed("send to", errno);
      TRY(wait_for_room());
      continue;
    }
    sent_.fetch_add(static_cast<std::uint64_t>(taken), std::memory_order_relaxed);
    unsent.advance(static_cast<std::size_t>(taken));
  }
  return {};
}

/// Timed apart from the kernel's copying, which is work and no wait.
Status SocketChannel::wait_for_room() {
  const auto began = std::chrono::steady_clock::now();
  pollfd waiting{.fd = socket_.get(), .events = POLLOUT, .revents = 0};
  const int ready = ::poll(&waiting, 1, send_timeout_ > Duration::zero() ? poll_milliseconds(send_timeout_) : -1);
  if (ready < 0 && errno != EINTR) return failed("wait to send to", errno);
  if (ready == 0) {
    return fail(ErrorKind::kPeerLost, fmt::format("send to {}: it took nothing for {:.3g} s", peer_,
                                                  std::chrono::duration<double>(send_timeout_).count()));
  }
  const Duration waited = std::chrono::steady_clock::now() - began;
  const Duration held_back = held_back_by_receiver(socket_.get());
  waits_.total += waited;
  waits_.for_receiver += std::clamp(held_back - held_back_, Duration::zero(), waited);
  held_back_ = held_back;
  return {};
}

Status SocketChannel::receive(MutableBytes exactly) {
  if (aborted_) return failed("receive from", 0);
  while (!exactly.empty()) {
    const Duration timeout = receive_timeout_;
    const bool timed = timeout > Duration::zero();
    // Without a timeout the kernel may gather all of it; with one, each byte that comes starts the wait again.
    const int flags = timed ? MSG_DONTWAIT : MSG_WAITALL;
    const ssize_t got = ::recv(socket_.get(), exactly.data(), exactly.size(), flags);
    if (got < 0) {
      if (errno == EINTR) continue;
      if (timed && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        TRY(wait_for_bytes(timeout));
        continue;
      }
      return failed("receive from", errno);
    }
    if (got == 0) return ended();
    received_.fetch_add(static_cast<std::uint64_t>(got), std::memory_order_relaxed);
    exactly = exactly.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<std::size_t> SocketChannel::receive_some(MutableBytes room) {
  if (aborted_) return failed("receive from", 0);
  if (room.empty()) return std::size_t{0};
  const ssize_t got = ::recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
  if (got == 0) return ended();
  if (got < 0) {
    if (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    return failed("receive from", errno);
  }
  received_.fetch_add(static_cast<std::uint64_t>(got), std::memory_order_relaxed);
  return static_cast<std::size_t>(got);
}

Status SocketChannel::wait_for_bytes(Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, poll_milliseconds(deadline - std::chrono::steady_clock::now()));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return failed("wait for", errno);
    if (aborted_) return failed("receive from", 0);
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(ErrorKind::kTimedOut, fmt::format("receive from {}: nothing came for {:.3g} s", peer_,
                                                    std::chrono::duration<double>(timeout).count()));
    }
  }
}

Status SocketChannel::finish_sending() {
  if (aborted_) return failed("finish sending to", 0);
  if (::shutdown(socket_.get(), SHUT_WR) != 0) return failed("finish sending to", errno);
  return {};
}

}  // namespace

std::unique_ptr<Channel> make_socket_channel(UniqueFd socket, std::string peer, const Liveness& liveness) {
  int family = AF_UNIX;
  socklen_t size = sizeof family;
  ::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &family, &size);
  // KERNEL: TCP sockets have TCP_USER_TIMEOUT, which tells a slow peer from a dead one better.
  const Duration timeout = family == AF_UNIX ? liveness.dead_after : Duration::zero();
  return std::make_unique<SocketChannel>(std::move(socket), std::move(peer), timeout);
}

Status send_bytes(Channel& channel, Bytes bytes) {
  // sendmsg never writes through iov_base.
  const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  return channel.send({&part, 1});
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
