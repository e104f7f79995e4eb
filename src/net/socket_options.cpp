// Socket options and addresses of the two kinds of sockets.
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "net/socket_channel.h"

namespace godwit {
namespace {

// Bytes that wait in the kernel beyond those under way: half a raw chunk. With the megabytes that it would take
// otherwise, a sender learns of a slow link in fits and starts, and what is sent last, in the guest's pause, waits
// behind them. Of 128 KiB to 2 MiB this gave the governor the truest picture at 1 Gbit/s, and cost nothing at 12.
constexpr int kUnsentBytes = 128 * 1024;

Status set_option(int socket, int level, int option, int value, std::string_view name) {
  if (::setsockopt(socket, level, option, &value, sizeof value) != 0) return fail_os(name);
  return {};
}

}  // namespace

Status set_tcp_options(int socket, const Liveness& liveness) {
  // Control messages are small and each is waited for.
  TRY(set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1, "set TCP_NODELAY"));
  TRY(set_option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kUnsentBytes, "set TCP_NOTSENT_LOWAT"));
  return liveness.dead_after <= Duration::zero() ? Status{} : set_liveness(socket, liveness.dead_after);
}

Status set_liveness(int socket, Duration dead_after) {
  // An idle connection: first probe after a third, then four more, so that the last unanswered one falls on dead_after.
  // The kernel counts these in whole seconds, at most 32767, and wants at least 1.
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(dead_after).count();
  const int total = static_cast<int>(std::clamp<decltype(seconds)>(seconds, 1, 32767));
  const int idle = std::max(1, total / 3);
  const int interval = std::max(1, (total - idle) / 4);
  const int count = std::max(1, (total - idle) / interval);
  TRY(set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1, "set SO_KEEPALIVE"));
  TRY(set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, idle, "set TCP_KEEPIDLE"));
  TRY(set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, interval, "set TCP_KEEPINTVL"));
  TRY(set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, count, "set TCP_KEEPCNT"));

  // A connection with bytes under way: the time in which they must be acknowledged.
  // KERNEL: with TCP_USER_TIMEOUT a peer that is alive but reads nothing for so long (its window closed) also counts as
  // dead. A receiver must therefore keep reading.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(dead_after).count();
  const int user_timeout = static_cast<int>(std::clamp<decltype(ms)>(ms, 1, INT32_MAX));
  return set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout, "set TCP_USER_TIMEOUT");
}

Result<sockaddr_un> unix_socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("socket path '{}': needs 1 to {} bytes, has {}", path,
                                                         sizeof address.sun_path - 1, path.size()));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace godwit
