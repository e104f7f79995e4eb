// Reads and writes addresses. What a name means is left to getaddrinfo(3), when somebody connects or listens.
#include "net/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <charconv>
#include <optional>

namespace godwit {
namespace {

// A path and its NUL must fit into sockaddr_un.
constexpr std::size_t kUnixPathLimit = sizeof(sockaddr_un::sun_path) - 1;
// RFC 1035's limit on a name; a numeric address with an interface name is shorter.
constexpr std::size_t kHostLimit = 253;

tl::unexpected<Error> malformed(std::string_view text, std::string_view why) {
  return fail(
      ErrorKind::kInvalidArgument,
      fmt::format("address '{}': {}; write tcp://HOST:PORT, tcp://[IPV6]:PORT or unix:///ABSOLUTE/PATH", text, why));
}

std::optional<std::uint16_t> parse_port(std::string_view digits) {
  std::uint16_t port = 0;
  const char* end = digits.data() + digits.size();
  const auto [stopped, error] = std::from_chars(digits.data(), end, port);
  if (digits.empty() || error != std::errc{} || stopped != end) return std::nullopt;
  return port;
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_bracketed_character(char c) {
  return is_host_character(c) || c == ':' || c == '%';
}

template <typename Predicate>
bool all(std::string_view text, Predicate good) {
  for (char c : text) {
    if (!good(c)) return false;
  }
  return true;
}

Result<Address> parse_tcp(std::string_view text, std::string_view rest) {
  std::string_view host;
  std::string_view port;
  if (rest.starts_with('[')) {
    const auto close = rest.find(']');
    if (close == std::string_view::npos) return malformed(text, "the bracket is not closed");
    host = rest.substr(1, close - 1);
    port = rest.substr(close + 1);
    if (host.find(':') == std::string_view::npos || !all(host, is_bracketed_character)) {
      return malformed(text, "brackets hold a numeric IPv6 address");
    }
    if (!port.starts_with(':')) return malformed(text, "the port is missing");
    port.remove_prefix(1);
  } else {
    const auto colon = rest.find(':');
    if (colon == std::string_view::npos) return malformed(text, "the port is missing");
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
    if (port.find(':') != std::string_view::npos) return malformed(text, "an IPv6 address needs brackets");
    if (!all(host, is_host_character)) return malformed(text, "the host has a character that no name has");
  }
  if (host.size() > kHostLimit) return malformed(text, "the host is too long");
  const auto number = parse_port(port);
  if (!number) return malformed(text, fmt::format("'{}' is not a port from 0 to 65535", port));
  return Address{.kind = Address::Kind::kTcp, .host = std::string(host), .port = *number, .path = {}};
}

Result<Address> parse_unix(std::string_view text, std::string_view path) {
  if (!path.starts_with('/')) return malformed(text, "the path must be absolute");
  if (path.ends_with('/')) return malformed(text, "the path must name a file");
  if (path.find('\0') != std::string_view::npos) return malformed(text, "the path holds a NUL");
  if (path.size() > kUnixPathLimit) {
    return malformed(text, fmt::format("the path has {} bytes, a socket's at most {}", path.size(), kUnixPathLimit));
  }
  return Address{.kind = Address::Kind::kUnix, .host = {}, .port = 0, .path = std::string(path)};
}

std::string format_tcp(const Address& address) {
  const bool numeric_v6 = address.host.find(':') != std::string::npos;
  return numeric_v6 ? fmt::format("tcp://[{}]:{}", address.host, address.port)
                    : fmt::format("tcp://{}:{}", address.host, address.port);
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
  constexpr std::string_view kTcp = "tcp://";
  constexpr std::string_view kUnix = "unix://";
  if (text.starts_with(kTcp)) return parse_tcp(text, text.substr(kTcp.size()));
  if (text.starts_with(kUnix)) return parse_unix(text, text.substr(kUnix.size()));
  return malformed(text, "it begins with neither tcp:// nor unix://");
}

std::string format_address(const Address& address) {
  switch (address.kind) {
    case Address::Kind::kTcp:
      return format_tcp(address);
    case Address::Kind::kUnix:
      return "unix://" + address.path;
  }
  return {};
}

bool names_a_peer(const Address& address) {
  switch (address.kind) {
    case Address::Kind::kTcp:
      return !address.host.empty() && address.port != 0;
    case Address::Kind::kUnix:
      return !address.path.empty();
  }
  return false;
}

bool stays_on_host(const Address& address) {
  switch (address.kind) {
    case Address::Kind::kTcp: {
      if (address.host == "localhost") return true;
      in_addr v4{};
      if (::inet_pton(AF_INET, address.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24U) == IN_LOOPBACKNET;
      in6_addr v6{};
      return ::inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
    }
    case Address::Kind::kUnix:
      return true;
  }
  return false;
}

}  // namespace godwit
