#include "tls/pem.h"

#include <openssl/pem.h>

#include <limits>

namespace godwit {

namespace {

/// In place of OpenSSL's own, which asks on the terminal.
int no_passphrase(char*, int, int, void*) noexcept {
  return -1;
}

template <typename Owned, typename Read>
Result<Owned> parsed_pem(std::string_view pem, std::string_view what, Read read) {
  if (pem.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    return fail(ErrorKind::kInvalidArgument, std::string(what) + ": too long");
  }
  const OwnedBio text(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!text) return fail_openssl(what);
  Owned found(read(text.get(), nullptr, no_passphrase, nullptr));
  if (!found) return fail_openssl(what, ErrorKind::kInvalidArgument);
  return found;
}

template <typename Write>
Result<std::string> written_pem(std::string_view what, Write write) {
  const OwnedBio out(BIO_new(BIO_s_mem()));
  if (!out || write(out.get()) != 1) return fail_openssl(what);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

}  // namespace

Result<OwnedCertificate> certificate_of(std::string_view pem) {
  return parsed_pem<OwnedCertificate>(pem, "read a certificate", PEM_read_bio_X509);
}

Result<OwnedKey> key_of(std::string_view pem) {
  return parsed_pem<OwnedKey>(pem, "read a key", PEM_read_bio_PrivateKey);
}

Result<OwnedRevocations> revocations_of(std::string_view pem) {
  return parsed_pem<OwnedRevocations>(pem, "read a revocation list", PEM_read_bio_X509_CRL);
}

Result<std::string> pem_of(X509* certificate) {
  return written_pem("write a certificate", [&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}

Result<std::string> pem_of(EVP_PKEY* key) {
  return written_pem("write a key", [&](BIO* out) {
    return PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

Result<std::string> pem_of(X509_CRL* revocations) {
  return written_pem("write a revocation list", [&](BIO* out) { return PEM_write_bio_X509_CRL(out, revocations); });
}

}  // namespace godwit
