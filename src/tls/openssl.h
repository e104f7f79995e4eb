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
using OwnedNumber = std::unique_ptr<BIGNUM, OpensslFree<BN_free>>;
using OwnedTime = std::unique_ptr<ASN1_TIME, OpensslFree<ASN1_TIME_free>>;
using OwnedAsn1Integer = std::unique_ptr<ASN1_INTEGER, OpensslFree<ASN1_INTEGER_free>>;
using OwnedAsn1String = std::unique_ptr<ASN1_STRING, OpensslFree<ASN1_STRING_free>>;
using OwnedExtension = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;
using OwnedAlternative = std::unique_ptr<GENERAL_NAME, OpensslFree<GENERAL_NAME_free>>;
using OwnedAlternatives = std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>>;
using OwnedRevoked = std::unique_ptr<X509_REVOKED, OpensslFree<X509_REVOKED_free>>;

/// The oldest error that this thread's calls of OpenSSL have left, in its words; the others are forgotten.
std::string openssl_reason();

/// "WHAT: OpenSSL's reason", right after a failed call.
tl::unexpected<Error> fail_openssl(std::string_view what, ErrorKind kind = ErrorKind::kIo);

}  // namespace godwit
