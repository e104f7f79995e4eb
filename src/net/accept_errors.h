// What an error of accept(2) says of the listener.
#pragma once

#include <cerrno>

namespace godwit {

/// Nobody can be taken any more. All other errors belong to the one connection (accept(2) names those of TCP; a
/// firewall's EPERM and others come on top) or pass.
constexpr bool ends_listening(int number) noexcept {
  return number == EBADF || number == EINVAL || number == ENOTSOCK;
}

/// This process, or the host, has no room for a connection now.
constexpr bool is_shortage(int number) noexcept {
  return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

}  // namespace godwit
