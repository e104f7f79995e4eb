#include "tls/issuer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "tls/pem.h"

namespace godwit::issuer_test {
namespace {

using ::testing::HasSubstr;

using OwnedStore = std::unique_ptr<X509_STORE, OpensslFree<X509_STORE_free>>;
using OwnedCheck = std::unique_ptr<X509_STORE_CTX, OpensslFree<X509_STORE_CTX_free>>;

constexpr std::time_t kHour = 3600;
constexpr std::time_t kDay = 24 * kHour;
constexpr std::time_t kNow = 1'800'000'000;  // in January 2027
constexpr ValidFor kYear{kNow - kHour, kNow + 365 * kDay};

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

Issuer new_ca(const std::string& name = "Test CA") {
  return must(Issuer::make(name, {kNow - kHour, kNow + 3650 * kDay}));
}

Issued issue(const Issuer& ca, const std::vector<std::string>& names, CertificateUse use = CertificateUse::kBoth,
             ValidFor valid = kYear) {
  return must(ca.issue(names, use, valid));
}

struct Check {
  std::string list;  ///< a CRL; empty: none is looked at
  int purpose = X509_PURPOSE_SSL_SERVER;
  std::time_t at = kNow;
};

/// OpenSSL's verdict, strict about what RFC 5280 asks for: X509_V_OK or why not.
int verdict(const std::string& ca, const std::string& certificate, const Check& how = {}) {
  const auto trusted = must(certificate_of(ca));
  const auto shown = must(certificate_of(certificate));
  const OwnedStore store(X509_STORE_new());
  X509_STORE_add_cert(store.get(), trusted.get());
  unsigned long flags = X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE;
  if (!how.list.empty()) {
    const auto list = must(revocations_of(how.list));
    X509_STORE_add_crl(store.get(), list.get());
    flags |= X509_V_FLAG_CRL_CHECK;
  }
  const OwnedCheck check(X509_STORE_CTX_new());
  X509_STORE_CTX_init(check.get(), store.get(), shown.get(), nullptr);
  X509_VERIFY_PARAM* const asked = X509_STORE_CTX_get0_param(check.get());
  X509_VERIFY_PARAM_set_flags(asked, flags);
  X509_VERIFY_PARAM_set_purpose(asked, how.purpose);
  X509_VERIFY_PARAM_set_time(asked, how.at);
  const int good = X509_verify_cert(check.get());
  const int error = X509_STORE_CTX_get_error(check.get());
  EXPECT_EQ(good == 1, error == X509_V_OK);
  return error;
}

bool is_for_host(const std::string& certificate, const std::string& name) {
  return X509_check_host(must(certificate_of(certificate)).get(), name.data(), name.size(), 0, nullptr) == 1;
}

bool is_for_address(const std::string& certificate, const char* address) {
  return X509_check_ip_asc(must(certificate_of(certificate)).get(), address, 0) == 1;
}

std::vector<unsigned char> serial_of(const std::string& certificate) {
  const auto parsed = must(certificate_of(certificate));
  const OwnedNumber number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(parsed.get()), nullptr));
  EXPECT_FALSE(BN_is_negative(number.get()));
  std::vector<unsigned char> bytes(static_cast<std::size_t>(BN_num_bytes(number.get())));
  BN_bn2bin(number.get(), bytes.data());
  return bytes;
}

int revoked_in(const std::string& list) {
  return sk_X509_REVOKED_num(X509_CRL_get_REVOKED(must(revocations_of(list)).get()));
}

long number_of(const std::string& list) {
  const auto parsed = must(revocations_of(list));
  const OwnedAsn1Integer number(
      static_cast<ASN1_INTEGER*>(X509_CRL_get_ext_d2i(parsed.get(), NID_crl_number, nullptr, nullptr)));
  return number ? ASN1_INTEGER_get(number.get()) : -1;
}

TEST(Issuer, IssuesWhatOpensslAcceptsForTheUseItWasIssuedFor) {
  const Issuer ca = new_ca();
  const auto server = issue(ca, {"host-a"}, CertificateUse::kServer).certificate;
  const auto client = issue(ca, {"host-a"}, CertificateUse::kClient).certificate;
  const auto both = issue(ca, {"host-a"}, CertificateUse::kBoth).certificate;
  EXPECT_EQ(verdict(ca.certificate(), server, {.purpose = X509_PURPOSE_SSL_SERVER}), X509_V_OK);
  EXPECT_EQ(verdict(ca.certificate(), server, {.purpose = X509_PURPOSE_SSL_CLIENT}), X509_V_ERR_INVALID_PURPOSE);
  EXPECT_EQ(verdict(ca.certificate(), client, {.purpose = X509_PURPOSE_SSL_CLIENT}), X509_V_OK);
  EXPECT_EQ(verdict(ca.certificate(), client, {.purpose = X509_PURPOSE_SSL_SERVER}), X509_V_ERR_INVALID_PURPOSE);
  EXPECT_EQ(verdict(ca.certificate(), both, {.purpose = X509_PURPOSE_SSL_CLIENT}), X509_V_OK);
  EXPECT_EQ(verdict(ca.certificate(), both, {.purpose = X509_PURPOSE_SSL_SERVER}), X509_V_OK);
}

TEST(Issuer, NamesAreDnsNamesAndAddresses) {
  const auto host = issue(new_ca(), {"host-a.example", "host-a", "10.0.0.1", "fd00::1"}).certificate;
  EXPECT_TRUE(is_for_host(host, "host-a.example"));
  EXPECT_TRUE(is_for_host(host, "host-a"));
  EXPECT_FALSE(is_for_host(host, "host-b"));
  EXPECT_FALSE(is_for_host(host, "10.0.0.1")) << "an address is not a DNS name";
  EXPECT_TRUE(is_for_address(host, "10.0.0.1"));
  EXPECT_TRUE(is_for_address(host, "fd00:0::1"));
  EXPECT_FALSE(is_for_address(host, "10.0.0.2"));
}

TEST(Issuer, ANameTooLongForTheSubjectIsANameAllTheSame) {
  const std::string name = std::string(60, 'a') + "." + std::string(60, 'b') + ".example";
  const Issuer ca = new_ca();
  const auto host = issue(ca, {name}).certificate;
  EXPECT_EQ(verdict(ca.certificate(), host), X509_V_OK);
  EXPECT_TRUE(is_for_host(host, name));
}

TEST(Issuer, AnotherCaOfTheSameNameIsNotTheSameCa) {
  const auto host = issue(new_ca(), {"host-a"}).certificate;
  EXPECT_NE(verdict(new_ca().certificate(), host), X509_V_OK);
  EXPECT_NE(verdict(new_ca("Other CA").certificate(), host), X509_V_OK);
}

TEST(Issuer, DatesAreThoseThatWereAskedFor) {
  const Issuer ca = new_ca();
  const auto host = issue(ca, {"host-a"}).certificate;
  EXPECT_EQ(verdict(ca.certificate(), host, {.at = kYear.from - 1}), X509_V_ERR_CERT_NOT_YET_VALID);
  EXPECT_EQ(verdict(ca.certificate(), host, {.at = kYear.from + 1}), X509_V_OK);
  EXPECT_EQ(verdict(ca.certificate(), host, {.at = kYear.until - 1}), X509_V_OK);
  EXPECT_EQ(verdict(ca.certificate(), host, {.at = kYear.until + 1}), X509_V_ERR_CERT_HAS_EXPIRED);
  EXPECT_EQ(must(ca.valid()).from, kNow - kHour);
  EXPECT_EQ(must(ca.valid()).until, kNow + 3650 * kDay);
  EXPECT_FALSE(ca.issue(std::array{std::string("a")}, CertificateUse::kBoth, {kNow, kNow * kNow}).has_value());
}

TEST(Issuer, AHostCannotIssue) {
  const Issuer ca = new_ca();
  const Issued host = issue(ca, {"host-a"});
  const auto as_ca = Issuer::from_pem(host.certificate, host.key);
  ASSERT_FALSE(as_ca.has_value());
  EXPECT_EQ(as_ca.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(as_ca.error().message, HasSubstr("not that of a CA"));
}

TEST(Issuer, SerialNumbersAreOf16BytesAndDiffer) {
  const Issuer ca = new_ca();
  std::vector<std::vector<unsigned char>> serials{serial_of(ca.certificate())};
  for (int i = 0; i < 8; ++i) serials.push_back(serial_of(issue(ca, {"host-a"}).certificate));
  for (const auto& serial : serials) EXPECT_EQ(serial.size(), 16U);
  std::sort(serials.begin(), serials.end());
  EXPECT_EQ(std::adjacent_find(serials.begin(), serials.end()), serials.end());
}

TEST(Issuer, KeysAreOnTheCurveP256AndFitTheirCertificates) {
  const Issuer ca = new_ca();
  const Issued host = issue(ca, {"host-a"});
  const auto key = must(key_of(host.key));
  char curve[32] = {};
  EXPECT_EQ(EVP_PKEY_get_group_name(key.get(), curve, sizeof curve, nullptr), 1);
  EXPECT_STREQ(curve, "prime256v1");
  EXPECT_EQ(X509_check_private_key(must(certificate_of(host.certificate)).get(), key.get()), 1);
  EXPECT_EQ(X509_check_private_key(must(certificate_of(ca.certificate())).get(), key.get()), 0);
  EXPECT_THAT(host.key, HasSubstr("-----BEGIN PRIVATE KEY-----"));
}

TEST(Issuer, ExtensionsAreThoseThatQemuTakes) {
  const Issuer ca = new_ca();
  const auto root = must(certificate_of(ca.certificate()));
  EXPECT_EQ(X509_get_key_usage(root.get()), static_cast<std::uint32_t>(KU_KEY_CERT_SIGN | KU_CRL_SIGN));
  EXPECT_EQ(X509_get_pathlen(root.get()), 0);
  const auto host = must(certificate_of(issue(ca, {"host-a"}).certificate));
  EXPECT_EQ(X509_get_version(host.get()), X509_VERSION_3);
  EXPECT_EQ(X509_get_key_usage(host.get()), static_cast<std::uint32_t>(KU_DIGITAL_SIGNATURE));
  const int at = X509_get_ext_by_NID(host.get(), NID_key_usage, -1);
  ASSERT_GE(at, 0);
  EXPECT_EQ(X509_EXTENSION_get_critical(X509_get_ext(host.get(), at)), 0) << "QEMU would ask for keyEncipherment";
  EXPECT_EQ(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(host.get()), X509_get0_subject_key_id(root.get())), 0);
}

TEST(Issuer, ComesBackFromItsPem) {
  const Issuer ca = new_ca();
  const Issuer again = must(Issuer::from_pem(ca.certificate(), ca.key()));
  EXPECT_EQ(again.certificate(), ca.certificate());
  EXPECT_EQ(verdict(ca.certificate(), issue(again, {"host-a"}).certificate), X509_V_OK);
}

TEST(Issuer, RefusesPemThatIsNotItsOwn) {
  const Issuer ca = new_ca();
  const auto mixed = Issuer::from_pem(ca.certificate(), new_ca().key());
  ASSERT_FALSE(mixed.has_value());
  EXPECT_THAT(mixed.error().message, HasSubstr("the CA's key is not that of its certificate"));
  EXPECT_EQ(mixed.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_FALSE(Issuer::from_pem("", ca.key()).has_value());
  EXPECT_FALSE(Issuer::from_pem(ca.certificate(), "").has_value());
  EXPECT_FALSE(Issuer::from_pem(ca.key(), ca.certificate()).has_value());
}

TEST(Issuer, AKeyWithAPassphraseIsRefusedAndNobodyAsked) {
  const Issuer ca = new_ca();
  const OwnedBio out(BIO_new(BIO_s_mem()));
  const auto key = must(key_of(ca.key()));
  ASSERT_EQ(PEM_write_bio_PrivateKey(out.get(), key.get(), EVP_aes_128_cbc(), nullptr, 0, nullptr,
                                     const_cast<char*>("secret")),
            1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  const auto encrypted = Issuer::from_pem(ca.certificate(), std::string(text, static_cast<std::size_t>(size)));
  ASSERT_FALSE(encrypted.has_value());
  EXPECT_EQ(encrypted.error().kind, ErrorKind::kInvalidArgument);
}

TEST(Issuer, ACaWithAnEd25519KeyOfAnotherProgramIssuesToo) {
  const OwnedKey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  ASSERT_TRUE(key);
  // As the issuer makes one, but with this key and without identifiers.
  const Issuer model = new_ca();
  const OwnedCertificate other(X509_dup(must(certificate_of(model.certificate())).get()));
  X509_set_pubkey(other.get(), key.get());
  const OwnedExtension identifier(
      X509_delete_ext(other.get(), X509_get_ext_by_NID(other.get(), NID_subject_key_identifier, -1)));
  ASSERT_GT(X509_sign(other.get(), key.get(), nullptr), 0);
  const Issuer ca = must(Issuer::from_pem(must(pem_of(other.get())), must(pem_of(key.get()))));
  const auto host = must(certificate_of(issue(ca, {"host-a"}).certificate));
  EXPECT_EQ(X509_verify(host.get(), key.get()), 1);
  EXPECT_EQ(X509_get0_authority_key_id(host.get()), nullptr);
  EXPECT_TRUE(ca.revocation_list({}, kYear).has_value());
}

TEST(Issuer, NeedsANameForItselfAndForOthers) {
  EXPECT_FALSE(Issuer::make("", kYear).has_value());
  EXPECT_FALSE(Issuer::make(std::string(65, 'x'), kYear).has_value());
  EXPECT_FALSE(new_ca().issue({}, CertificateUse::kBoth, kYear).has_value());
  EXPECT_FALSE(new_ca().issue(std::array{std::string()}, CertificateUse::kBoth, kYear).has_value());
}

TEST(RevocationList, RefusesWhatIsInItAndNothingElse) {
  const Issuer ca = new_ca();
  const auto lost = issue(ca, {"host-a"}).certificate;
  const auto kept = issue(ca, {"host-a"}).certificate;
  const auto list = must(ca.revocation_list(std::array{lost}, kYear));
  EXPECT_EQ(verdict(ca.certificate(), lost, {.list = list}), X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(verdict(ca.certificate(), kept, {.list = list}), X509_V_OK);
  EXPECT_EQ(verdict(ca.certificate(), lost), X509_V_OK) << "nobody has looked";
  EXPECT_EQ(number_of(list), 1);
}

TEST(RevocationList, AnEmptyOneRefusesNobody) {
  const Issuer ca = new_ca();
  const auto list = must(ca.revocation_list({}, kYear));
  EXPECT_EQ(verdict(ca.certificate(), issue(ca, {"host-a"}).certificate, {.list = list}), X509_V_OK);
}

TEST(RevocationList, OneThatIsOutOfDateRefusesEverybody) {
  const Issuer ca = new_ca();
  const auto list = must(ca.revocation_list({}, {kNow - kDay, kNow - kHour}));
  EXPECT_EQ(verdict(ca.certificate(), issue(ca, {"host-a"}).certificate, {.list = list}), X509_V_ERR_CRL_HAS_EXPIRED);
}

TEST(RevocationList, KeepsWhatIsInTheFormerOneAndNamesNobodyTwice) {
  const Issuer ca = new_ca();
  const auto first = issue(ca, {"host-a"}).certificate;
  const auto second = issue(ca, {"host-b"}).certificate;
  const auto before = must(ca.revocation_list(std::array{first}, kYear));
  const auto after = must(ca.revocation_list(std::array{second, first, second}, kYear, before));
  EXPECT_EQ(revoked_in(after), 2);
  EXPECT_EQ(number_of(after), 2);
  EXPECT_EQ(verdict(ca.certificate(), first, {.list = after}), X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(verdict(ca.certificate(), second, {.list = after}), X509_V_ERR_CERT_REVOKED);
}

TEST(RevocationList, RefusesCertificatesAndListsOfOtherCas) {
  const Issuer ca = new_ca();
  const Issuer other = new_ca();
  const auto certificate = ca.revocation_list(std::array{issue(other, {"host-a"}).certificate}, kYear);
  ASSERT_FALSE(certificate.has_value());
  EXPECT_EQ(certificate.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(certificate.error().message, HasSubstr("the certificate is not one of this CA"));
  const auto list = ca.revocation_list({}, kYear, must(other.revocation_list({}, kYear)));
  ASSERT_FALSE(list.has_value());
  EXPECT_THAT(list.error().message, HasSubstr("the revocation list is not one of this CA"));
  EXPECT_FALSE(ca.revocation_list(std::array{std::string("no PEM")}, kYear).has_value());
  EXPECT_FALSE(ca.revocation_list({}, kYear, "no PEM").has_value());
  EXPECT_FALSE(ca.revocation_list({}, kYear, "").has_value()) << "whatever was in it would be forgotten";
}

}  // namespace
}  // namespace godwit::issuer_test
