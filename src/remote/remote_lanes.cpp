#include "remote/remote_lanes.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <csignal>

#include "net/socket_channel.h"

namespace godwit {

Result<std::unique_ptr<Channel>> RemoteLanes::connect() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return fail_os("socketpair");
  UniqueFd near(ends[0]);
  const UniqueFd far(ends[1]);
  const std::lock_guard lock(mutex_);
  children_.push_back(TRY(RemoteShell::start_on(far, errors_, command_)));
  return make_socket_channel(std::move(near), peer_);
}

void RemoteLanes::end(Duration patience) {
  const std::lock_guard lock(mutex_);
  const Instant until = std::chrono::steady_clock::now() + patience;
  for (RemoteShell& child : children_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd ended{child.ended_descriptor(), POLLIN, 0};
    (void)::poll(&ended, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
  }
  // All are told before one is waited for.
  for (RemoteShell& child : children_) {
    if (!child.take_end()) child.signal(SIGTERM);
  }
  children_.clear();
  errors_.reset();
}

}  // namespace godwit
