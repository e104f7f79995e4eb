#include "tls/issuer.h"

#include <fmt/format.h>

#include <array>

#include "base/random.h"
#include "tls/host_name.h"
#include "tls/pem.h"

namespace godwit {

namespace {

// X.509's limit for a common name.
constexpr std::size_t kLongestCommonName = 64;

Result<OwnedKey> make_key() {
  OwnedKey key(EVP_EC_gen("P-256"));
  if (!key) return fail_openssl("make a key");
  return key;
}

/// For signatures of a key that another program may have made: Ed25519 and Ed448 have one of their own.
const EVP_MD* digest_for(const EVP_PKEY* key) noexcept {
  return EVP_PKEY_is_a(key, "ED25519") == 1 || EVP_PKEY_is_a(key, "ED448") == 1 ? nullptr : EVP_sha256();
}

/// 16 random bytes, positive and never shortened.
Status set_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes{};
  TRY(fill_with_random(std::as_writable_bytes(std::span(bytes))));
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x3fU) | 0x40U);
  const OwnedNumber number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  if (!number || BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr) {
    return fail_openssl("set a serial number");
  }
  return {};
}

Result<OwnedTime> time_at(std::time_t at) {
  OwnedTime time(ASN1_TIME_set(nullptr, at));
  if (!time) return fail_openssl("set a date", ErrorKind::kInvalidArgument);
  return time;
}

Result<std::time_t> seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return fail_openssl("read a date", ErrorKind::kInvalidArgument);
  return ::timegm(&parts);
}

/// With all but the subject, the issuer, the extensions and the signature.
Result<OwnedCertificate> begin_certificate(EVP_PKEY* key, ValidFor valid) {
  OwnedCertificate begun(X509_new());
  const OwnedTime from = TRY(time_at(valid.from));
  const OwnedTime until = TRY(time_at(valid.until));
  if (!begun || X509_set_version(begun.get(), X509_VERSION_3) != 1 || X509_set_pubkey(begun.get(), key) != 1 ||
      X509_set1_notBefore(begun.get(), from.get()) != 1 || X509_set1_notAfter(begun.get(), until.get()) != 1) {
    return fail_openssl("begin a certificate");
  }
  TRY(set_serial(begun.get()));
  return begun;
}

Status set_common_name(X509* certificate, const std::string& name) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(name.data());
  if (X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName, MBSTRING_UTF8, bytes,
                                 static_cast<int>(name.size()), -1, 0) != 1) {
    return fail_openssl("set a certificate's name");
  }
  return {};
}

Status set_issuer(X509* certificate, const X509* issuer) {
  if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1) return fail_openssl("set an issuer");
  return {};
}

/// An extension that OpenSSL writes from a text. `issuer` and the others are what the text speaks of.
Result<OwnedExtension> extension(int which, const char* text, X509* issuer, X509* subject, X509_CRL* list) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, subject, nullptr, list, 0);
  X509V3_set_ctx_nodb(&context);
  OwnedExtension made(X509V3_EXT_conf_nid(nullptr, &context, which, text));
  if (!made) return fail_openssl(fmt::format("make {}", OBJ_nid2sn(which)));
  return made;
}

Status extend(X509* certificate, X509* issuer, int which, const char* text) {
  const OwnedExtension made = TRY(extension(which, text, issuer, certificate, nullptr));
  if (X509_add_ext(certificate, made.get(), -1) != 1) return fail_openssl("add an extension");
  return {};
}

Result<OwnedAlternative> alternative_of(const std::string& name) {
  const auto address = address_bytes(name);
  const bool is_address = !address.empty();
  OwnedAlternative made(GENERAL_NAME_new());
  // Both are strings of bytes to OpenSSL.
  OwnedAsn1String text(ASN1_STRING_type_new(is_address ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING));
  if (!made || !text) return fail_openssl("make a certificate's names");
  const void* const bytes = is_address ? static_cast<const void*>(address.data()) : name.data();
  const auto size = static_cast<int>(is_address ? address.size() : name.size());
  if (ASN1_STRING_set(text.get(), bytes, size) != 1) return fail_openssl("set a certificate's names");
  GENERAL_NAME_set0_value(made.get(), is_address ? GEN_IPADD : GEN_DNS, text.release());
  return made;
}

/// What a peer compares with the name that it has connected to. A certificate without a subject has them as critical.
Status set_alternatives(X509* certificate, std::span<const std::string> names, bool critical) {
  const OwnedAlternatives all(sk_GENERAL_NAME_new_null());
  if (!all) return fail_openssl("make a certificate's names");
  for (const std::string& name : names) {
    OwnedAlternative one = TRY(alternative_of(name));
    if (sk_GENERAL_NAME_push(all.get(), one.get()) <= 0) return fail_openssl("add a certificate's name");
    one.release();
  }
  if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, all.get(), critical ? 1 : 0, 0) != 1) {
    return fail_openssl("set a certificate's names");
  }
  return {};
}

const char* extended_use(CertificateUse use) noexcept {
  switch (use) {
    case CertificateUse::kServer:
      return "serverAuth";
    case CertificateUse::kClient:
      return "clientAuth";
    case CertificateUse::kBoth:
      break;
  }
  return "serverAuth,clientAuth";
}

/// Those of another CA's making may lack what the extension would repeat.
bool has_key_identifier(X509* issuer) noexcept {
  return X509_get0_subject_key_id(issuer) != nullptr;
}

Status sign(X509* certificate, EVP_PKEY* key) {
  if (X509_sign(certificate, key, digest_for(key)) <= 0) return fail_openssl("sign a certificate");
  return {};
}

Result<OwnedRevocations> begin_list(X509* issuer, ValidFor valid) {
  OwnedRevocations begun(X509_CRL_new());
  const OwnedTime from = TRY(time_at(valid.from));
  const OwnedTime until = TRY(time_at(valid.until));
  if (!begun || X509_CRL_set_version(begun.get(), X509_CRL_VERSION_2) != 1 ||
      X509_CRL_set_issuer_name(begun.get(), X509_get_subject_name(issuer)) != 1 ||
      X509_CRL_set1_lastUpdate(begun.get(), from.get()) != 1 ||
      X509_CRL_set1_nextUpdate(begun.get(), until.get()) != 1) {
    return fail_openssl("begin a revocation list");
  }
  if (has_key_identifier(issuer)) {
    const auto made = TRY(extension(NID_authority_key_identifier, "keyid", issuer, nullptr, begun.get()));
    if (X509_CRL_add_ext(begun.get(), made.get(), -1) != 1) return fail_openssl("add an extension");
  }
  return begun;
}

/// One more than the list before it had.
Status set_list_number(X509_CRL* list, X509_CRL* former) {
  const OwnedAsn1Integer before(
      former == nullptr ? nullptr
                        : static_cast<ASN1_INTEGER*>(X509_CRL_get_ext_d2i(former, NID_crl_number, nullptr, nullptr)));
  const OwnedNumber number(before ? ASN1_INTEGER_to_BN(before.get(), nullptr) : BN_new());
  if (!number || BN_add_word(number.get(), 1) != 1) return fail_openssl("count revocation lists");
  const OwnedAsn1Integer now(BN_to_ASN1_INTEGER(number.get(), nullptr));
  if (!now || X509_CRL_add1_ext_i2d(list, NID_crl_number, now.get(), 0, 0) != 1) {
    return fail_openssl("number a revocation list");
  }
  return {};
}

Status add_to_list(X509_CRL* list, OwnedRevoked entry) {
  if (X509_CRL_add0_revoked(list, entry.get()) != 1) return fail_openssl("add to a revocation list");
  entry.release();
  return {};
}

Status keep_former(X509_CRL* list, X509_CRL* former) {
  auto* const entries = X509_CRL_get_REVOKED(former);
  for (int i = 0; i < sk_X509_REVOKED_num(entries); ++i) {
    OwnedRevoked copy(X509_REVOKED_dup(sk_X509_REVOKED_value(entries, i)));
    if (!copy) return fail_openssl("copy a revocation list");
    TRY(add_to_list(list, std::move(copy)));
  }
  return {};
}

/// Unless it is there already.
Status revoke(X509_CRL* list, X509* certificate, std::time_t at) {
  X509_REVOKED* there = nullptr;
  if (X509_CRL_get0_by_serial(list, &there, X509_get_serialNumber(certificate)) != 0) return {};
  const OwnedTime date = TRY(time_at(at));
  OwnedRevoked entry(X509_REVOKED_new());
  if (!entry || X509_REVOKED_set_serialNumber(entry.get(), X509_get_serialNumber(certificate)) != 1 ||
      X509_REVOKED_set_revocationDate(entry.get(), date.get()) != 1) {
    return fail_openssl("revoke a certificate");
  }
  return add_to_list(list, std::move(entry));
}

}  // namespace

Issuer::Issuer(OwnedCertificate certificate, OwnedKey key, std::string certificate_pem, std::string key_pem)
    : certificate_(std::move(certificate)),
      key_(std::move(key)),
      certificate_pem_(std::move(certificate_pem)),
      key_pem_(std::move(key_pem)) {}

Result<Issuer> Issuer::make(const std::string& name, ValidFor valid) {
  if (name.empty() || name.size() > kLongestCommonName) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("a CA's name has 1 to {} bytes", kLongestCommonName));
  }
  OwnedKey key = TRY(make_key());
  OwnedCertificate made = TRY(begin_certificate(key.get(), valid));
  X509* const ca = made.get();
  TRY(set_common_name(ca, name));
  TRY(set_issuer(ca, ca));
  TRY(extend(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  TRY(extend(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign"));
  TRY(extend(ca, ca, NID_subject_key_identifier, "hash"));
  TRY(sign(ca, key.get()));
  std::string certificate_pem = TRY(pem_of(ca));
  std::string key_pem = TRY(pem_of(key.get()));
  return Issuer(std::move(made), std::move(key), std::move(certificate_pem), std::move(key_pem));
}

Result<Issuer> Issuer::from_pem(std::string certificate, std::string key) {
  OwnedCertificate ca = TRY(certificate_of(certificate));
  OwnedKey its_key = TRY(key_of(key));
  if (X509_check_private_key(ca.get(), its_key.get()) != 1) {
    return fail_openssl("the CA's key is not that of its certificate", ErrorKind::kInvalidArgument);
  }
  // 1: a CA by its extensions; the other values are guesses at older certificates.
  if (X509_check_ca(ca.get()) != 1) return fail(ErrorKind::kInvalidArgument, "the certificate is not that of a CA");
  return Issuer(std::move(ca), std::move(its_key), std::move(certificate), std::move(key));
}

Result<Issued> Issuer::issue(std::span<const std::string> names, CertificateUse use, ValidFor valid) const {
  if (names.empty() || names.front().empty()) return fail(ErrorKind::kInvalidArgument, "a certificate needs a name");
  X509* const ca = certificate_.get();
  const OwnedKey key = TRY(make_key());
  const OwnedCertificate made = TRY(begin_certificate(key.get(), valid));
  X509* const host = made.get();
  const bool fits = names.front().size() <= kLongestCommonName;
  if (fits) TRY(set_common_name(host, names.front()));
  TRY(set_issuer(host, ca));
  TRY(extend(host, ca, NID_basic_constraints, "critical,CA:FALSE"));
  // Not critical: QEMU before 10.0.7 then insists on keyEncipherment, too, which keys on curves cannot have.
  TRY(extend(host, ca, NID_key_usage, "digitalSignature"));
  TRY(extend(host, ca, NID_ext_key_usage, extended_use(use)));
  TRY(set_alternatives(host, names, !fits));
  TRY(extend(host, ca, NID_subject_key_identifier, "hash"));
  if (has_key_identifier(ca)) TRY(extend(host, ca, NID_authority_key_identifier, "keyid"));
  TRY(sign(host, key_.get()));
  Issued issued;
  issued.certificate = TRY(pem_of(host));
  issued.key = TRY(pem_of(key.get()));
  return issued;
}

Result<std::string> Issuer::revocation_list(std::span<const std::string> certificates, ValidFor valid,
                                            const std::optional<std::string>& former) const {
  const OwnedRevocations made = TRY(begin_list(certificate_.get(), valid));
  const OwnedRevocations before = former ? TRY(revocations_of(*former)) : nullptr;
  if (before) {
    if (X509_CRL_verify(before.get(), key_.get()) != 1) {
      return fail_openssl("the revocation list is not one of this CA", ErrorKind::kInvalidArgument);
    }
    TRY(keep_former(made.get(), before.get()));
  }
  TRY(set_list_number(made.get(), before.get()));
  for (const std::string& pem : certificates) {
    const OwnedCertificate certificate = TRY(certificate_of(pem));
    if (X509_verify(certificate.get(), key_.get()) != 1) {
      return fail_openssl("the certificate is not one of this CA", ErrorKind::kInvalidArgument);
    }
    TRY(revoke(made.get(), certificate.get(), valid.from));
  }
  if (X509_CRL_sort(made.get()) != 1 || X509_CRL_sign(made.get(), key_.get(), digest_for(key_.get())) <= 0) {
    return fail_openssl("sign a revocation list");
  }
  return pem_of(made.get());
}

Result<ValidFor> Issuer::valid() const {
  return ValidFor{TRY(seconds_of(X509_get0_notBefore(certificate_.get()))),
                  TRY(seconds_of(X509_get0_notAfter(certificate_.get())))};
}

}  // namespace godwit
