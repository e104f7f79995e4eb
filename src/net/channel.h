// A channel: an ordered stream of bytes to the other side.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "net/address.h"

namespace godwit {

/// How long send() has waited in all, because its bytes were not taken: what tells a slow link from a slow sender.
struct SendWaits {
  Duration total{};
  Duration for_receiver{};  ///< of that, because the receiver had no room; known for TCP only, else zero
};

/// What send() has handed over and the peer's kernel has not confirmed yet: whether the link still has work. Over a
/// Unix socket: what the peer has not read, and the kernel's own needs. With a rate limit also what all that share it
/// have taken of a burst.
struct SendQueue {
  std::uint64_t bytes = 0;
  Duration round_trip{};  ///< the shortest one seen; known for TCP only, else zero
};

/// One thread sends and one (maybe another) receives; abort() may come from any thread at any time.
class Channel {
 public:
  virtual ~Channel() = default;
  /// Sends everything or fails. Blocks. kCancelled after abort(), kPeerLost, also if the peer takes nothing for
  /// Liveness::dead_after: a peer that takes a little now and then may keep it here for longer.
  virtual Status send(std::span<const iovec> parts) = 0;
  /// Fills `exactly` or fails. kPeerLost on an early end ("the peer closed the connection"), kCancelled after abort(),
  /// kTimedOut if nothing came for the receive timeout.
  virtual Status receive(MutableBytes exactly) = 0;
  /// What has come already and fits, without waiting; 0: nothing yet. Fails as receive() does, but never with
  /// kTimedOut.
  virtual Result<std::size_t> receive_some(MutableBytes room) = 0;
  /// For poll(2): readable when receive_some() has bytes, an end or an error to give. Valid as long as the channel.
  virtual int descriptor() const noexcept = 0;
  /// No more will be sent; the peer reads an end after what was sent.
  virtual Status finish_sending() = 0;
  /// Ends both directions at once and wakes whoever blocks in send() or receive().
  virtual void abort() noexcept = 0;
  /// How long receive() waits for the next byte; zero: for ever (the default).
  virtual void set_receive_timeout(Duration timeout) noexcept = 0;
  virtual std::uint64_t bytes_sent() const noexcept = 0;
  virtual std::uint64_t bytes_received() const noexcept = 0;
  /// Of all sends so far. The sending thread's.
  virtual SendWaits send_waits() const noexcept = 0;
  /// As it is now; empty where the kernel does not tell. The sending thread's.
  virtual SendQueue send_queue() noexcept = 0;
};

/// Sends one buffer.
Status send_bytes(Channel& channel, Bytes bytes);

/// How quickly a dead peer is noticed.
struct Liveness {
  Duration connect_timeout = std::chrono::seconds(10);
  /// No answer for so long: TCP keepalive and TCP_USER_TIMEOUT; nothing taken for so long: Unix sockets, too.
  Duration dead_after = std::chrono::seconds(6);
};

/// One connection. For a name every address that it has is tried, side by side. kPeerLost, naming each address with its
/// reason, if none can be reached; kNotFound: no such name, no such socket file.
Result<std::unique_ptr<Channel>> connect_to(const Address& address, const Liveness& liveness = {});

/// Takes connections. accept() from one thread, abort() from any.
class Listener {
 public:
  virtual ~Listener() = default;
  /// The next connection; kTimedOut after `timeout` (zero: waits for ever), kCancelled after abort().
  virtual Result<std::unique_ptr<Channel>> accept(Duration timeout) = 0;
  virtual void abort() noexcept = 0;
  /// For poll(2): readable when accept() would not wait. Valid as long as the listener.
  virtual int descriptor() const noexcept = 0;
  /// Where it listens, with the real port.
  virtual Address address() const = 0;
};

/// A Unix listener removes a dead socket file in its way (never a live one), and its own when it goes.
Result<std::unique_ptr<Listener>> listen_on(const Address& address, const Liveness& liveness = {});

/// A connected pair inside this process, over socketpair(2).
Result<std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>>> make_channel_pair(const Liveness& liveness = {});

}  // namespace godwit
