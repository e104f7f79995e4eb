// Result<T>: a value, or an Error that says what a caller can do about it.
//
// Nothing below app/ throws. Exceptions of libraries are turned into results where they enter.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <type_traits>
#include <utility>

namespace godwit {

/// One kind for each different thing that a caller can do about an error.
enum class ErrorKind {
  kInvalidArgument,  ///< the caller's or the operator's input is wrong: fix the call
  kRefused,          ///< the two sides do not fit, or one of them says no: nothing was moved
  kUnsupported,      ///< this host, kernel or VM cannot do it: choose another way
  kNoPermission,     ///< needs more rights: run as root or as QEMU's user
  kNotFound,         ///< what was named is not there
  kIo,               ///< the operating system failed a call
  kPeerLost,         ///< the other side is gone: roll back
  kProtocol,         ///< the other side broke the protocol: roll back, do not retry
  kTimedOut,         ///< a deadline passed
  kCancelled,        ///< somebody asked to stop
  kHypervisor,       ///< QEMU refused or failed a command
};

/// The kind's name as reports have it, e.g. "peer-lost".
std::string_view name_of(ErrorKind kind) noexcept;
/// The kind of that name, if there is one.
std::optional<ErrorKind> error_kind_from(std::string_view name) noexcept;

/// What happened. `message` is a sentence for a person; contexts are put in front of it on the way up.
struct Error {
  ErrorKind kind = ErrorKind::kIo;
  std::string message;
  int os_error = 0;      ///< errno where the operating system was the cause, else 0
  bool at_peer = false;  ///< the other side has met and told it: what helps is to be done there

  /// "context: message", for a caller that knows more about what was being done.
  Error in(std::string_view context) &&;
};

/// An error from errno, as in "open /dev/x: No such file or directory". EPERM and EACCES become kNoPermission,
/// ENOENT kNotFound, ECONNRESET, EPIPE and ETIMEDOUT kPeerLost, everything else kIo.
Error os_error(std::string_view what, int number);

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

using Status = Result<void>;

/// `return fail(ErrorKind::kRefused, "...")` from any function that gives a Result.
inline tl::unexpected<Error> fail(ErrorKind kind, std::string message, int number = 0) {
  return tl::unexpected<Error>(Error{kind, std::move(message), number});
}
inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}
/// `return fail_os("open", path)` right after a failed system call: reads errno.
tl::unexpected<Error> fail_os(std::string_view what);

namespace detail {
template <typename T>
T take(Result<T>&& result) {
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace detail

}  // namespace godwit

/// The value of a Result, or return its error from the enclosing function. Works for Status too.
#define TRY(expression)                                                                  \
  __extension__({                                                                        \
    auto godwit_try_result = (expression);                                               \
    if (!godwit_try_result) return ::godwit::fail(std::move(godwit_try_result).error()); \
    ::godwit::detail::take(std::move(godwit_try_result));                                \
  })

/// As TRY, with a context put in front of the error's message.
#define TRY_IN(context, expression)                                                                  \
  __extension__({                                                                                    \
    auto godwit_try_result = (expression);                                                           \
    if (!godwit_try_result) return ::godwit::fail(std::move(godwit_try_result).error().in(context)); \
    ::godwit::detail::take(std::move(godwit_try_result));                                            \
  })
