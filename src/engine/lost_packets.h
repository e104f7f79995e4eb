// What a connection that fell silent tells about the way to the other host.
#pragma once

#include <cerrno>

#include "base/result.h"
#include "net/link.h"

namespace godwit {

/// A path that swallows large packets without a word lets connections be opened, and heartbeats through.
inline constexpr std::string_view kMtuHint =
    "the connection was made and small packets pass, but large packets do not arrive: check the MTU of every "
    "interface, "
    "tunnel and switch on the way to the destination";

/// For a sink, whose Welcome is its first large message; heartbeats wait behind it.
inline constexpr std::string_view kMtuHintBack =
    "large packets do not arrive at the source: check the MTU of every interface, tunnel and switch on the way to it";

/// Whether this connection ended with `error` because what was sent on it was confirmed no more, although the receiver
/// had room, before much had come through: small messages may have, and the first large one did not. The sending
/// thread's.
inline bool stuck_at_the_first_large_one(Link& link, const Error& error) noexcept {
  if (error.kind != ErrorKind::kTimedOut && error.os_error != ETIMEDOUT) return false;
  // What fits into the smallest packet that every path must carry (RFC 791: 576 bytes) is not large.
  constexpr std::uint64_t kSmall = 500;
  // A lane may begin with many frames that say little.
  constexpr std::uint64_t kMuch = 1 << 20;
  constexpr Duration kNoRoom = std::chrono::seconds(2);
  const std::uint64_t sent = link.bytes_sent();
  const SendQueue queue = link.send_queue();
  if (queue.round_trip == Duration::zero()) return false;  // a Unix socket, which has no packets
  const std::uint64_t unconfirmed = queue.bytes;
  return unconfirmed > kSmall && sent <= unconfirmed + kMuch && link.send_waits().for_receiver < kNoRoom;
}

}  // namespace godwit
