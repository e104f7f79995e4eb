// What connect, listen and pair share: a channel over a connected stream socket, and socket options.
#pragma once

#include <sys/un.h>

#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "net/channel.h"

namespace godwit {

/// A channel over a connected, blocking stream socket, TCP (with its options set) or Unix. `peer` is named in error
/// messages.
std::unique_ptr<Channel> make_socket_channel(UniqueFd socket, std::string peer, const Liveness& liveness = {});

/// No delay, and the timers that find a dead peer. For TCP sockets only.
Status set_tcp_options(int socket, const Liveness& liveness);
/// Of them only those by which a dead peer is noticed.
Status set_liveness(int socket, Duration dead_after);

/// How long in all the peer's closed receive window has held bytes back; zero for what is not a TCP socket.
Duration held_back_by_receiver(int socket) noexcept;

/// The shortest round trip of the last minutes; zero for what is not a TCP socket.
Duration shortest_round_trip(int socket) noexcept;

/// How much longer than that the latest round trips took, smoothed; zero for what is not a TCP socket.
Duration round_trip_excess(int socket) noexcept;

/// Bytes sent that the peer has not acknowledged (TCP) or not read (Unix); 0 if the kernel does not tell.
std::uint64_t unconfirmed_bytes(int socket) noexcept;

/// kInvalidArgument if the path is empty or too long.
Result<sockaddr_un> unix_socket_address(const std::string& path);

}  // namespace godwit
