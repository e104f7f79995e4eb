#include "tls/host_name.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace godwit {

namespace {

// RFC 1035's limits for a name as text, and for what is between two dots.
constexpr std::size_t kLongestHostName = 253;
constexpr std::size_t kLongestLabel = 63;

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kHostNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:";

bool is_label(std::string_view label) noexcept {
  return !label.empty() && label.size() <= kLongestLabel && label.front() != '-' && label.back() != '-';
}

bool has_only_labels(std::string_view name) noexcept {
  while (true) {
    const auto dot = name.find('.');
    if (!is_label(name.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    name.remove_prefix(dot + 1);
  }
}

}  // namespace

std::vector<unsigned char> address_bytes(const std::string& name) {
  std::vector<unsigned char> bytes(sizeof(in6_addr));
  if (::inet_pton(AF_INET6, name.c_str(), bytes.data()) == 1) return bytes;
  bytes.resize(sizeof(in_addr));
  if (::inet_pton(AF_INET, name.c_str(), bytes.data()) == 1) return bytes;
  return {};
}

Status check_host_name(const std::string& name) {
  const auto refuse = [&](std::string_view why) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("invalid host name '{:.80}'; {}", name, why));
  };
  if (name.empty()) return refuse("write a DNS name or an IP address, e.g. host-a or 10.0.0.1");
  if (name.size() > kLongestHostName) return refuse(fmt::format("it may have {} bytes at most", kLongestHostName));
  if (name.find_first_not_of(kHostNameCharacters) != std::string::npos) {
    return refuse("it may have letters, digits, '-' and '.', and ':' as an IPv6 address");
  }
  if (!address_bytes(name).empty()) return {};
  if (name.find(':') != std::string::npos) return refuse("only IPv6 addresses have ':', and this is not one");
  if (!has_only_labels(name)) return refuse("between dots are 1 to 63 letters, digits and '-', no '-' at either end");
  // Programs that look such a name up take it for an address (inet_aton).
  const std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
  if (last.find_first_not_of(kDigits) == std::string_view::npos) return refuse("as an IPv4 address it is not valid");
  return {};
}

}  // namespace godwit
