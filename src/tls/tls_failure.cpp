#include "tls/tls_failure.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/sslerr.h>

#include <array>

namespace godwit {

namespace {

constexpr int kMostNames = 8;

std::string text_of(const ASN1_TIME* time) {
  const OwnedBio bio(BIO_new(BIO_s_mem()));
  std::array<char, 64> text{};
  if (!bio || ASN1_TIME_print(bio.get(), time) != 1) return "?";
  const int size = BIO_read(bio.get(), text.data(), static_cast<int>(text.size()));
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : "?";
}

/// Printable, whatever a hostile peer wrote into it.
std::string printable(const unsigned char* bytes, int size) {
  std::string text;
  for (int i = 0; i < size && i < 256; ++i)
    text += bytes[i] >= 0x20 && bytes[i] < 0x7f ? static_cast<char>(bytes[i]) : '?';
  return text;
}

std::string text_of_ip(const ASN1_OCTET_STRING& ip) {
  const unsigned char* const b = ip.data;
  if (ip.length == 4) return fmt::format("{}.{}.{}.{}", b[0], b[1], b[2], b[3]);
  std::string text;
  for (int i = 0; i + 1 < ip.length; i += 2) text += fmt::format("{}{:x}", i == 0 ? "" : ":", b[i] * 256 + b[i + 1]);
  return text;
}

bool is_alert(int reason, int tls, int ssl3) {
  return reason == tls || reason == ssl3;
}

/// What the peer has against this side, by the alert that it has sent; nothing if it sent none of these.
std::string_view complaint_of(int reason) {
  if (reason == SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED) return "has expired, or is not valid yet by the clock there";
  if (reason == SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED) return "has been revoked";
  if (reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA) return "is not signed by the CA that it trusts";
  if (is_alert(reason, SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE)) {
    return "is not for this host or not for this use";
  }
  if (reason == SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN) return "cannot be checked there";
  return {};
}

Error refused(const TlsFailure& f, std::string what) {
  return {ErrorKind::kRefused, fmt::format("TLS with {}: {}", f.peer, what)};
}

constexpr std::string_view kDifferentKeys =
    "the two sides do not have the same key: give both the same file by --tls-psk";
constexpr std::string_view kDifferentTrust =
    "one side has certificates, the other a key: start both with --tls-dir, or both with --tls-psk";

Error explain_for_key(const TlsFailure& f, int reason) {
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    // It shows a certificate instead of taking the key: it does not have it, or has only certificates.
    return refused(f, std::string(kDifferentTrust));
  }
  if (reason == SSL_R_BINDER_DOES_NOT_VERIFY ||
      is_alert(reason, SSL_R_TLSV1_ALERT_DECRYPT_ERROR, SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER)) {
    return refused(f, std::string(kDifferentKeys));
  }
  return refused(f, fmt::format("{}; or {}", kDifferentKeys, kDifferentTrust));
}

}  // namespace

Error explain_tls_failure(const TlsFailure& f) {
  const int reason = ERR_GET_REASON(f.error);
  if (f.unverified) return refused(f, *f.unverified);
  if (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION) {
    return refused(f, "it does not speak TLS 1.3: is it a godwit of another version, or another program?");
  }
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST || reason == SSL_R_HTTPS_PROXY_REQUEST ||
      reason == SSL_R_BAD_RECORD_TYPE || reason == SSL_R_PACKET_LENGTH_TOO_LONG) {
    return explain_no_tls(f.peer, f.side, false);
  }
  if (const auto complaint = complaint_of(reason); !complaint.empty()) {
    Error error = refused(f, fmt::format("the other side says that this side's certificate {}", complaint));
    error.at_peer = true;
    return error;
  }
  if (reason == SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED || reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    return refused(f, std::string(kDifferentTrust));
  }
  const bool no_common_way = reason == SSL_R_NO_SHARED_CIPHER || reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM ||
                             reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE || reason == SSL_R_NO_CERTIFICATE_SET ||
                             reason == SSL_R_BINDER_DOES_NOT_VERIFY || reason == SSL_R_CERTIFICATE_VERIFY_FAILED ||
                             reason == SSL_R_TLSV1_ALERT_DECRYPT_ERROR ||
                             reason == SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER || reason == SSL_R_NO_SUITABLE_KEY_SHARE;
  if (f.shared != nullptr && no_common_way) return explain_for_key(f, reason);
  if (no_common_way) return refused(f, std::string(kDifferentTrust));
  const char* const words = ERR_reason_error_string(f.error);
  return {ErrorKind::kProtocol, fmt::format("TLS with {}: {}", f.peer, words == nullptr ? "broken off" : words)};
}

std::string explain_verification(X509_STORE_CTX& store, const CertificateFiles& files, std::string_view peer_name) {
  const int code = X509_STORE_CTX_get_error(&store);
  const X509* const certificate = X509_STORE_CTX_get_current_cert(&store);
  const std::string whose = certificate == nullptr ? "?" : names_of_certificate(*certificate);
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("the certificate of {} expired on {}: renew it there", whose,
                         text_of(X509_get0_notAfter(certificate)));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format(
          "the certificate of {} is not valid before {}: set both hosts' clocks right, or renew it there", whose,
          text_of(X509_get0_notBefore(certificate)));
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return fmt::format(
          "the certificate there is for {}, not for '{}': use a name that it has, or give it by --tls-hostname", whose,
          peer_name);
    case X509_V_ERR_CERT_REVOKED:
      return fmt::format("the certificate of {} has been revoked ({}): that side needs another", whose, files.crl);
    case X509_V_ERR_CRL_HAS_EXPIRED:
      return fmt::format("the list of revoked certificates {} has expired: this side needs the CA's newest", files.crl);
    case X509_V_ERR_UNABLE_TO_GET_CRL:
      return fmt::format("the list of revoked certificates {} is not of the CA that has signed the certificate of {}",
                         files.crl, whose);
    case X509_V_ERR_INVALID_PURPOSE:
      return fmt::format("the certificate of {} is not for this use: that side needs one for {}", whose,
                         "servers where it receives, for clients where it sends");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return fmt::format(
          "the certificate of {} is not signed by the CA that this side trusts ({}): both need one of the "
          "same CA",
          whose, files.ca);
    default:
      return fmt::format("the certificate of {} is not accepted: {}", whose, X509_verify_cert_error_string(code));
  }
}

std::string names_of_certificate(const X509& certificate) {
  std::string names;
  const std::unique_ptr<GENERAL_NAMES, OpensslFree<GENERAL_NAMES_free>> all(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
  int count = 0;
  for (int i = 0; all && i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* const one = sk_GENERAL_NAME_value(all.get(), i);
    std::string text;
    if (one->type == GEN_DNS) text = printable(one->d.dNSName->data, one->d.dNSName->length);
    if (one->type == GEN_IPADD) text = text_of_ip(*one->d.iPAddress);
    if (text.empty()) continue;
    // One that has not been verified may have as many as it likes.
    if (++count > kMostNames) return names + ", ...";
    names += fmt::format("{}'{}'", names.empty() ? "" : ", ", text);
  }
  if (!names.empty()) return names;
  std::array<char, 256> subject{};
  X509_NAME_oneline(X509_get_subject_name(&certificate), subject.data(), static_cast<int>(subject.size()));
  return fmt::format("'{}'", subject.data());
}

Error explain_no_tls(std::string_view peer, TlsSide side, bool godwit) {
  if (side == TlsSide::kServer && godwit) {
    return {
        ErrorKind::kRefused,
        fmt::format("{} sends in the clear, and this side wants TLS: start `godwit send` with --tls-dir or --tls-psk, "
                    "or `godwit receive` with --insecure-plain",
                    peer)};
  }
  if (side == TlsSide::kServer) return {ErrorKind::kProtocol, fmt::format("{} does not speak TLS", peer)};
  return {ErrorKind::kRefused,
          fmt::format("{} does not speak TLS: start `godwit receive` there with --tls-dir or --tls-psk, or both sides "
                      "with --insecure-plain",
                      peer)};
}

}  // namespace godwit
