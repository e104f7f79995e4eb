// PEM texts to OpenSSL's objects, and back. An object in a file with a passphrase is refused: nobody is asked for one.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "tls/openssl.h"

namespace godwit {

/// Of texts with more than one, the first. kInvalidArgument if there is none.
Result<OwnedCertificate> certificate_of(std::string_view pem);
Result<OwnedKey> key_of(std::string_view pem);
Result<OwnedRevocations> revocations_of(std::string_view pem);

Result<std::string> pem_of(X509* certificate);
Result<std::string> pem_of(EVP_PKEY* key);
Result<std::string> pem_of(X509_CRL* revocations);

}  // namespace godwit
