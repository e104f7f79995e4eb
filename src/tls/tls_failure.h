// Why two sides do not trust each other, as a sentence that says which of them must do what.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tls/openssl.h"
#include "tls/trust.h"

namespace godwit {

struct TlsFailure {
  std::string_view peer;
  TlsSide side = TlsSide::kClient;        ///< this one
  const SharedKey* shared = nullptr;      ///< what this side trusts by; null: certificates
  std::optional<std::string> unverified;  ///< what explain_verification() said
  unsigned long error = 0;                ///< OpenSSL's
};

/// kRefused where trust is missing, kProtocol where the peer's bytes are not TLS 1.3.
Error explain_tls_failure(const TlsFailure& failure);

/// What is wrong with the certificate that is being verified.
std::string explain_verification(X509_STORE_CTX& store, const CertificateFiles& files, std::string_view peer_name);

/// "'host-b', '10.0.0.2'", or its subject if it has no such names.
std::string names_of_certificate(const X509& certificate);

/// The peer's first byte is not TLS's; `godwit`: it is that of Godwit's greeting.
Error explain_no_tls(std::string_view peer, TlsSide side, bool godwit);

}  // namespace godwit
