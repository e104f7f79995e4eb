// Connections to one place: whichever of a name's addresses has answered is where all later ones go.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include "base/unique_fd.h"
#include "net/channel.h"
#include "net/resolve.h"

namespace godwit {

/// A connected, blocking TCP socket, and where it goes.
struct Connected {
  UniqueFd socket;
  HostAddress address;
};

/// The first of these addresses to answer; they are tried in this order, each a little after the one before, until
/// `timeout`. Errors as connect_to().
Result<Connected> connect_first(std::span<const HostAddress> addresses, const Liveness& liveness, Duration timeout);

/// Where a migration's connections go. The first one finds out which of a name's addresses answers.
class Route {
 public:
  /// Without a resolver: the system's.
  explicit Route(Address to, const Liveness& liveness = {}, Resolver resolver = nullptr);
  /// One more connection, as connect_to(); any thread. To an address that has answered before it may take no longer
  /// than kAgain: a firewall that swallows some connections must not hold up the others.
  Result<std::unique_ptr<Channel>> connect();
  /// Two losses of the first packet are made good within this time.
  static constexpr Duration kAgain = std::chrono::milliseconds(3500);

 private:
  Result<UniqueFd> connect_socket();
  Result<UniqueFd> connect_tcp();
  std::optional<HostAddress> answering() const;

  Address to_;
  Liveness liveness_;
  Resolver resolver_;
  mutable std::mutex mutex_;
  std::optional<HostAddress> answering_;
};

}  // namespace godwit
