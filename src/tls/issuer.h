// A CA in memory: it issues certificates for hosts, and lists those that it has revoked.
//
//   Issuer --issue()-----------> certificate and key of a host
//          --revocation_list()-> CRL
#pragma once

#include <ctime>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "tls/openssl.h"

namespace godwit {

/// From and until when, in seconds since 1970.
struct ValidFor {
  std::time_t from = 0;
  std::time_t until = 0;
};

/// Both PEM.
struct Issued {
  std::string certificate;
  std::string key;
};

/// Which side of a connection shows the certificate.
enum class CertificateUse { kServer, kClient, kBoth };

class Issuer {
 public:
  /// A new CA, with a key of its own. `name`: what certificates say of who issued them, at most 64 bytes.
  static Result<Issuer> make(const std::string& name, ValidFor valid);
  /// One that was made before, here or by another program. kInvalidArgument if it is not a CA, or the key not its key.
  static Result<Issuer> from_pem(std::string certificate, std::string key);

  /// For whoever is called by any of `names`: those that are IP addresses are entered as such, others as DNS names.
  /// They are taken as they are (host_name.h has a check).
  Result<Issued> issue(std::span<const std::string> names, CertificateUse use, ValidFor valid) const;

  /// A CRL of these certificates, which this CA has issued, and of all that are in `former`, a CRL of this CA. The
  /// certificates count as revoked from `valid.from` on; whoever checks them refuses all certificates once the list is
  /// out of date.
  Result<std::string> revocation_list(std::span<const std::string> certificates, ValidFor valid,
                                      const std::optional<std::string>& former = {}) const;

  const std::string& certificate() const noexcept { return certificate_pem_; }
  const std::string& key() const noexcept { return key_pem_; }
  /// Of the CA: nothing that it issues is of use outside of this.
  Result<ValidFor> valid() const;

 private:
  Issuer(OwnedCertificate certificate, OwnedKey key, std::string certificate_pem, std::string key_pem);

  OwnedCertificate certificate_;
  OwnedKey key_;
  std::string certificate_pem_;
  std::string key_pem_;
};

}  // namespace godwit
