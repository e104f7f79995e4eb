// What OpenSSL gives, owned; and its errors as results.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

template <auto kFree>
struct OpensslFree {
  template <typename T>
  void operator()(T* owned) const noexcept {
    kFree(owned);
  }
};

using OwnedBio = std::unique_ptr<BIO, OpensslFree<BIO_free>>;
using OwnedKey = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using OwnedCertificate = std::unique_ptr<X509, OpensslFree<X509_free>>;
using OwnedRevocations = std::unique_ptr<X509_CRL, OpensslFree<X509_CRL_free>>;
using OwnedSession = std::unique_ptr<SSL_SESSION, OpensslFree<SSL_SESSION_free>>;
using OwnedSslContext = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>>;
using OwnedSsl = std::unique_ptr<SSL, OpensslFree<SSL_free>>;
using OwnedCipherContext = std::unique_ptr<EVP_CIPHER_CTX, OpensslFree<EVP_CIPHER_CTX_free>>;

/// The oldest error that this thread's calls of OpenSSL have left, in its words; the others are forgotten.
std::string openssl_reason();

/// "WHAT: OpenSSL's reason", right after a failed call.
tl::unexpected<Error> fail_openssl(std::string_view what, ErrorKind kind = ErrorKind::kIo);

}  // namespace godwit
