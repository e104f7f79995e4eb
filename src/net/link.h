// What is known of the connection under a channel: how much it has carried, whether it is busy, how far the peer is.
//
//   Channel (limit) --> Channel (encryption) --> Channel (socket) --> kernel
//       |                    | link()                | link()
//       +-- its own: Link -->+---------------------->+--> Link: asks the kernel about the socket
//
// A layer over a channel passes on the link below it, with what it adds: waits, or protection.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace godwit {

/// How long write() has waited in all, because its bytes were not taken: what tells a slow link from a slow sender.
struct SendWaits {
  Duration total{};
  Duration for_receiver{};  ///< of that, because the receiver had no room; known for TCP only, else zero
};

/// What write() has handed over and the peer's kernel has not confirmed yet: whether the link still has work. Over a
/// Unix socket: what the peer has not read, and the kernel's own needs. With a rate limit also what all that share it
/// have taken of a burst.
struct SendQueue {
  std::uint64_t bytes = 0;
  Duration round_trip{};  ///< the shortest one seen; known for TCP only, else zero
};

/// Valid as long as its channel.
class Link {
 public:
  virtual ~Link() = default;
  /// On the wire, with what layers add. Any thread.
  virtual std::uint64_t bytes_sent() const noexcept = 0;
  virtual std::uint64_t bytes_received() const noexcept = 0;
  /// Of all writes so far. The writing thread's.
  virtual SendWaits send_waits() const noexcept = 0;
  /// As it is now; empty where the kernel does not tell. The writing thread's.
  virtual SendQueue send_queue() noexcept = 0;
  /// From here on a peer that does not answer counts as dead after so long. Best effort. Any thread.
  virtual void bear_silence(Duration dead_after) noexcept = 0;
  /// How much longer than the shortest one a round trip takes now: what lies before new bytes in queues on the way.
  /// Known for TCP only, else zero. Any thread.
  virtual Duration queueing() const noexcept = 0;
  /// For poll(2): readable when bytes, an end or an error have come.
  virtual int descriptor() const noexcept = 0;
  /// The other end, as messages name it.
  virtual const std::string& peer() const noexcept = 0;
  /// What protects the bytes, "TLS 1.3, AES-256-GCM, ..."; empty: nothing does, or not yet. Any thread.
  virtual std::string security() const = 0;
};

}  // namespace godwit
