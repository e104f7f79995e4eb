// What the kernel knows about a TCP connection's waits. A file of its own, for <linux/tcp.h> and <netinet/tcp.h> define
// the same names, and only the former has these.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

#include "net/socket_channel.h"

namespace godwit {

Duration held_back_by_receiver(int socket) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {};
  // KERNEL: 4.10 and newer fill it in.
  if (size < offsetof(tcp_info, tcpi_rwnd_limited) + sizeof info.tcpi_rwnd_limited) return {};
  return std::chrono::microseconds(info.tcpi_rwnd_limited);
}

}  // namespace godwit
