// The addresses behind a host and a port.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace godwit {

/// One address of a host, with the port.
struct HostAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family() const noexcept { return storage.ss_family; }
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

enum class ResolveFor { kConnecting, kListening };

/// All stream addresses of a TCP address, IPv6 and IPv4, in the order in which they should be tried. Blocks for as long
/// as the resolver does. kNotFound: no such name.
Result<std::vector<HostAddress>> resolve(const Address& address, ResolveFor purpose);

/// What a name means to whoever connects; tests have names of their own.
using Resolver = std::function<Result<std::vector<HostAddress>>(const Address&)>;

/// One of them in numbers, without the port, for messages.
std::string numeric_host(const HostAddress& one);

}  // namespace godwit
