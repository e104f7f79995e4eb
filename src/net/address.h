// Addresses as people write them: tcp://host:port, tcp://[::1]:4444, unix:///run/godwit.sock.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

/// Whoever looks at the kind uses a switch without a default, so that the compiler names the places that do not know a
/// new one.
struct Address {
  enum class Kind { kTcp, kUnix };
  Kind kind = Kind::kTcp;
  std::string host;        ///< kTcp: a name or a numeric address, without brackets; empty listens everywhere
  std::uint16_t port = 0;  ///< kTcp: 0 listens on a port of the kernel's choice
  std::string path;        ///< kUnix: absolute
  bool operator==(const Address&) const = default;
};

/// kInvalidArgument says what is wrong and shows the two forms.
Result<Address> parse_address(std::string_view text);
std::string format_address(const Address& address);
/// Whether it is enough to connect to: one to listen on may leave the host or the port open.
bool names_a_peer(const Address& address);
/// Whether nothing leaves this host: a Unix socket, or the loopback device.
bool stays_on_host(const Address& address);

}  // namespace godwit
