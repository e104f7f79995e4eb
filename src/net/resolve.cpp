// getaddrinfo(3), its errors as results.
#include "net/resolve.h"

#include <fmt/format.h>
#include <netdb.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace godwit {

Result<std::vector<HostAddress>> resolve(const Address& address, ResolveFor purpose) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (purpose == ResolveFor::kListening ? AI_PASSIVE : 0);
  const std::string port = std::to_string(address.port);
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(), port.c_str(), &hints, &found);
  if (code == EAI_SYSTEM) return fail(os_error(fmt::format("look up '{}'", address.host), errno));
  if (code != 0) {
    return fail(ErrorKind::kNotFound, fmt::format("look up '{}': {}", address.host, ::gai_strerror(code)));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
  std::vector<HostAddress> all;
  for (const addrinfo* one = list.get(); one != nullptr; one = one->ai_next) {
    HostAddress& host = all.emplace_back();
    host.size = one->ai_addrlen;
    std::memcpy(&host.storage, one->ai_addr, one->ai_addrlen);
  }
  return all;
}

std::string numeric_host(const HostAddress& one) {
  std::array<char, NI_MAXHOST> host{};
  const int code = ::getnameinfo(one.get(), one.size, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST);
  return code == 0 ? host.data() : "an address of an unknown kind";
}

}  // namespace godwit
