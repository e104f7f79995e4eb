// Connections to one place: whichever of a name's addresses has answered is where all later ones go, until that one
// does not answer any more.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/unique_fd.h"
#include "net/channel.h"
#include "net/resolve.h"
#include "net/wrap.h"

namespace godwit {

/// A connected, blocking TCP socket, and where it goes.
struct Connected {
  UniqueFd socket;
  HostAddress address;
};

/// The first of these addresses to answer; they are tried in this order, each a little after the one before, until
/// `timeout`. Errors as connect_to(); kCancelled as soon as `stop` is requested.
Result<Connected> connect_first(std::span<const HostAddress> addresses, const Liveness& liveness, Duration timeout,
                                const std::stop_token& stop = {});

/// Where a migration's connections go. The first one finds out which of a name's addresses answers.
class Route {
 public:
  /// Without a resolver: the system's.
  explicit Route(Address to, const Liveness& liveness = {}, Resolver resolver = nullptr);
  /// One more connection, as connect_first(); any thread. To an address that has answered before it may take no longer
  /// than kAgain: a firewall that swallows some connections must not hold up the others. To any of them, as the name
  /// was looked up at first: that one is the first to be tried, and whichever answers is where later ones go
  /// (kAsBefore); it takes as long, whatever their number. Nobody is asked for the name again, because who knows it may
  /// be out of reach, too.
  Result<std::unique_ptr<Channel>> connect(Whereto where = Whereto::kAsBefore, const std::stop_token& stop = {});
  /// Two losses of the first packet are made good within this time.
  static constexpr Duration kAgain = std::chrono::milliseconds(3500);

 private:
  Result<UniqueFd> connect_socket(Whereto where, const std::stop_token& stop);
  Result<UniqueFd> connect_tcp(Whereto where, const std::stop_token& stop);
  std::vector<HostAddress> known(Whereto where) const;

  Address to_;
  Liveness liveness_;
  Resolver resolver_;
  mutable std::mutex mutex_;
  std::vector<HostAddress> known_;  ///< once one has answered: all, that one first
  std::size_t latest_ = 0;          ///< of those: which has answered last
};

/// A source's way back to its sink: connections by this route with `wrap` around them. Whoever stops one is not kept by
/// a handshake either.
Reconnect reconnecting(std::shared_ptr<Route> route, Wrap wrap);

}  // namespace godwit
