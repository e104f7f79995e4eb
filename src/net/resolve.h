// The addresses behind a host and a port.
#pragma once

#include <netdb.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "net/address.h"

namespace godwit {

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};
using ResolvedAddresses = std::unique_ptr<addrinfo, FreeAddresses>;

enum class ResolveFor { kConnecting, kListening };

/// All stream addresses of a TCP address, IPv6 and IPv4. Blocks for as long as the resolver does. kNotFound: no such
/// name.
Result<ResolvedAddresses> resolve(const Address& address, ResolveFor purpose);

/// One of them in numbers, without the port, for messages.
std::string numeric_host(const addrinfo& one);

}  // namespace godwit
