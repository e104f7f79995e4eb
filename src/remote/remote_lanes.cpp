#include "remote/remote_lanes.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/wake.h"
#include "net/socket_channel.h"

namespace godwit {

namespace {

// A line of a login shell that is longer is none of ours.
constexpr std::size_t kLongestRelayLine = 256;
// Of such noise.
constexpr std::size_t kMostNoise = 64 * 1024;

int milliseconds_until(Instant end) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
  return static_cast<int>(std::max<std::int64_t>(0, left.count()));
}

}  // namespace

Status RemoteLanes::open(unsigned count, Duration limit, const std::stop_token& cancelled) {
  const Instant until = std::chrono::steady_clock::now() + limit;
  const std::lock_guard lock(mutex_);
  for (unsigned i = 0; i < count; ++i) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail_os("socketpair");
    ready_.emplace_back(ends[0]);
    const UniqueFd far(ends[1]);
    children_.push_back(TRY(RemoteShell::start_on(far, errors_, command_)));
  }
  for (const UniqueFd& near : ready_) TRY(await_relay(near.get(), until, cancelled));
  return {};
}

Status RemoteLanes::await_relay(int near, Instant until, const std::stop_token& cancelled) const {
  Wake wake;
  if (!wake) return fail_os("eventfd");
  const std::stop_callback on_stop(cancelled, [&wake] { wake.wake(); });
  std::string line;
  // Byte by byte: what comes behind the line is the channel's.
  for (std::size_t read = 0; read < kMostNoise;) {
    std::array<pollfd, 2> look{{{near, POLLIN, 0}, {wake.descriptor(), POLLIN, 0}}};
    const int ready = ::poll(look.data(), look.size(), milliseconds_until(until));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail_os("poll");
    if (look[1].revents != 0) return fail(ErrorKind::kCancelled, "cancelled by the operator");
    if (ready == 0)
      return fail(ErrorKind::kTimedOut, fmt::format("{}: it has not started `godwit relay` in time", peer_));
    char c = 0;
    const ssize_t got = ::read(near, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(ErrorKind::kPeerLost, fmt::format("{}: it has started no `godwit relay`", peer_));
    ++read;
    if (c != '\n') {
      if (line.size() < kLongestRelayLine) line += c;
      continue;
    }
    if (line == kRelayIsStarted) return {};
    line.clear();
  }
  return fail(ErrorKind::kProtocol, fmt::format("{}: what comes is not from `godwit relay`", peer_));
}

Result<std::unique_ptr<Channel>> RemoteLanes::connect() {
  const std::lock_guard lock(mutex_);
  if (ready_.empty()) return fail(ErrorKind::kPeerLost, fmt::format("{}: no connection is left", peer_));
  UniqueFd near = std::move(ready_.back());
  ready_.pop_back();
  return make_socket_channel(std::move(near), peer_);
}

void RemoteLanes::end(Duration patience) {
  const std::lock_guard lock(mutex_);
  const Instant until = std::chrono::steady_clock::now() + patience;
  ready_.clear();
  for (RemoteShell& child : children_) {
    pollfd ended{child.ended_descriptor(), POLLIN, 0};
    (void)::poll(&ended, 1, milliseconds_until(until));
  }
  // All are told before one is waited for.
  for (RemoteShell& child : children_) {
    if (!child.take_end()) child.signal(SIGTERM);
  }
  children_.clear();
  errors_.reset();
}

}  // namespace godwit
