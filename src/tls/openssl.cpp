#include "tls/openssl.h"

#include <fmt/format.h>
#include <openssl/err.h>

namespace godwit {

std::string openssl_reason() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* const reason = ERR_reason_error_string(error);
  return reason == nullptr ? "OpenSSL gives no reason" : reason;
}

tl::unexpected<Error> fail_openssl(std::string_view what, ErrorKind kind) {
  return fail(kind, fmt::format("{}: {}", what, openssl_reason()));
}

}  // namespace godwit
