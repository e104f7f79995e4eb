// A channel: an ordered stream of bytes to the other side, each call with a deadline. What is known of the connection
// under it is its link's (net/link.h).
#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "net/address.h"
#include "net/deadline.h"
#include "net/link.h"

namespace godwit {

/// A stream of bytes, each way in order. One thread writes and one (maybe another) reads; abort() may come from any
/// thread at any time. After an error other than a time-out of read() a channel is of no use any more.
class Channel {
 public:
  virtual ~Channel() = default;
  /// Hands all of it over. kTimedOut at the deadline: how much of it was taken is not known. kPeerLost, also if the
  /// peer takes nothing at all for Liveness::dead_after: one that takes a little now and then has the deadline only.
  /// kCancelled after abort().
  virtual Status write(std::span<const iovec> parts, const Deadline& until) = 0;
  /// Reads at least so many bytes and at most as many as fit, without waiting for more than `at_least`; gives how many.
  /// 0: what has come already, which may be nothing. kTimedOut at the deadline: those that had come are lost, so
  /// whoever wants to go on after it asks for 1. kPeerLost on an early end ("the peer closed the connection"),
  /// kCancelled after abort().
  virtual Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) = 0;
  /// No more will be written; the peer reads an end after what was written.
  virtual Status shut_down() = 0;
  /// Ends both directions at once and wakes whoever waits in write() or read().
  virtual void abort() noexcept = 0;
  virtual Link& link() noexcept = 0;
};

/// Writes one buffer.
Status send_bytes(Channel& channel, Bytes bytes, const Deadline& until = Deadline::never());

/// Reads so many bytes. kTimedOut if nothing comes for so long, with which each byte begins again; zero: never.
Status receive_bytes(Channel& channel, MutableBytes exactly, Duration silence = Duration::zero());

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
