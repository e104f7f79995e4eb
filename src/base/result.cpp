#include "base/result.h"

#include <cerrno>
#include <system_error>

namespace godwit {

std::string_view name_of(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return "invalid-argument";
    case ErrorKind::kRefused:
      return "refused";
    case ErrorKind::kUnsupported:
      return "unsupported";
    case ErrorKind::kNoPermission:
      return "no-permission";
    case ErrorKind::kNotFound:
      return "not-found";
    case ErrorKind::kIo:
      return "io";
    case ErrorKind::kPeerLost:
      return "peer-lost";
    case ErrorKind::kProtocol:
      return "protocol";
    case ErrorKind::kTimedOut:
      return "timed-out";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kHypervisor:
      return "hypervisor";
  }
  return "unknown";
}

std::optional<ErrorKind> error_kind_from(std::string_view name) noexcept {
  for (int i = 0; i <= static_cast<int>(ErrorKind::kHypervisor); ++i) {
    if (const auto kind = static_cast<ErrorKind>(i); name_of(kind) == name) return kind;
  }
  return std::nullopt;
}

Error Error::in(std::string_view context) && {
  message = std::string(context) + ": " + message;
  return std::move(*this);
}

namespace {
ErrorKind kind_of(int number) noexcept {
  switch (number) {
    case EPERM:
    case EACCES:
      return ErrorKind::kNoPermission;
    case ENOENT:
    case ESRCH:
      return ErrorKind::kNotFound;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case ETIMEDOUT:
      return ErrorKind::kPeerLost;
    default:
      return ErrorKind::kIo;
  }
}
}  // namespace

Error os_error(std::string_view what, int number) {
  return Error{kind_of(number), std::string(what) + ": " + std::generic_category().message(number), number};
}

tl::unexpected<Error> fail_os(std::string_view what) {
  return fail(os_error(what, errno));
}

}  // namespace godwit
