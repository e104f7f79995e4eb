// What the kernel knows about a connection's waits and its queue. A file of its own, for <linux/tcp.h> and
// <netinet/tcp.h> define the same names, and only the former has these.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/socket_channel.h"

namespace godwit {

namespace {

/// KERNEL: 4.10 and newer fill in all that is asked for here; what is not filled in stays zero.
tcp_info ask(int socket) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {};
  return info;
}

}  // namespace

Duration held_back_by_receiver(int socket) noexcept {
  return std::chrono::microseconds(ask(socket).tcpi_rwnd_limited);
}

Duration shortest_round_trip(int socket) noexcept {
  // Before the first measurement the kernel says ~0.
  const auto us = ask(socket).tcpi_min_rtt;
  return us == ~decltype(us){0} ? Duration::zero() : std::chrono::microseconds(us);
}

Duration round_trip_excess(int socket) noexcept {
  const tcp_info info = ask(socket);
  if (info.tcpi_min_rtt == ~decltype(info.tcpi_min_rtt){0} || info.tcpi_rtt <= info.tcpi_min_rtt) return {};
  return std::chrono::microseconds(info.tcpi_rtt - info.tcpi_min_rtt);
}

std::uint64_t unconfirmed_bytes(int socket) noexcept {
  int bytes = 0;
  return ::ioctl(socket, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

}  // namespace godwit
