// How the two sides of a move prove who they are: certificates, a key that both have, or not at all.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/key_bytes.h"
#include "base/result.h"

namespace godwit {

/// In the clear, and from anybody.
struct NoTrust {};

/// Paths of PEM files. Each side shows a certificate of its own, and asks for one that the same CA has signed.
struct CertificateFiles {
  std::string ca;
  std::string crl;  ///< empty: no certificate is looked up in a list of revoked ones
  std::string certificate;
  std::string key;
};

/// A secret that both sides have.
struct SharedKey {
  std::string identity;  ///< which key it is, for a message: not secret
  KeyBytes key;
};

using Trust = std::variant<NoTrust, CertificateFiles, SharedKey>;

enum class TlsSide { kClient, kServer };

/// The files for one side in `folder`, by the names that QEMU uses there (ca-cert.pem, server-cert.pem, ...) or libvirt
/// below it (CA/cacert.pem, libvirt/servercert.pem, ...). A side without a certificate of its own takes the other's, as
/// libvirt does. kNotFound: there is no CA's certificate; kInvalidArgument: there is, and this side has none of its
/// own.
Result<CertificateFiles> certificates_in(const std::string& folder, TlsSide side);

/// Where certificates are looked for without --tls-dir.
const std::vector<std::string>& usual_certificate_folders();

/// "IDENTITY:HEX", without a line end: a new key, as long as AES-256's.
Result<KeyBytes> new_shared_key_line(std::string_view identity);

/// The first line of `text`, which says IDENTITY:HEX. kInvalidArgument, naming `where` it comes from, if it holds no
/// key, or one of under 16 or over 64 bytes.
Result<SharedKey> parse_shared_key(std::string_view text, std::string_view where);

/// kNoPermission where every user of this host can read the file.
Status refuse_readable_by_all(const std::string& file);

/// A file as QEMU and GnuTLS have it, one key to a line: IDENTITY:HEX. The first line counts. kNoPermission where
/// every user of this host can read it.
Result<SharedKey> read_shared_key(const std::string& file);

}  // namespace godwit
