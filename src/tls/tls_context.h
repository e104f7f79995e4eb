// What all TLS connections of one side have in common: whom it trusts, its ciphers, and keys for further connections.
//
//   first connection:  certificates both ways --handshake done--> keep_key_of(): a key exported from it, on both sides
//   lanes:             that key, by its name  --> no certificate is sent or checked, no signature made
//
// Where a key is shared anyway, each connection uses it: such handshakes are short already.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/key_bytes.h"
#include "base/result.h"
#include "tls/cipher_choice.h"
#include "tls/openssl.h"
#include "tls/trust.h"

namespace godwit {

class TlsContext {
 public:
  /// `trust` is not NoTrust. `peer_name`: what the peer's certificate must be for, a name or an IP address; empty: any
  /// that the CA has signed. kNotFound, kNoPermission, kInvalidArgument name the file that cannot be used, and why.
  static Result<std::shared_ptr<TlsContext>> make(TlsSide side, Trust trust, std::string peer_name);

  TlsSide side() const noexcept { return side_; }
  /// Of a shared key its identity only: what is derived of it is enough.
  const Trust& trust() const noexcept { return trust_; }
  const std::string& peer_name() const noexcept { return peer_name_; }

  /// For one connection, which this outlives.
  Result<OwnedSsl> new_ssl();
  /// The handshake of `ssl` is done, with the peer's proof.
  void keep_key_of(SSL& ssl);

 private:
  struct KeptKey {
    std::string name;
    std::shared_ptr<const KeyBytes> key;
    const TlsCipher* cipher = nullptr;
    Instant since;  ///< Instant::max(): for good
  };

  TlsContext(TlsSide side, Trust trust, std::string peer_name)
      : side_(side), trust_(std::move(trust)), peer_name_(std::move(peer_name)), ciphers_(ciphers_by_speed()) {}
  Status set_up();
  Status derive_keys(SharedKey& shared);
  Status load(const CertificateFiles& files);
  Status load_own(const CertificateFiles& files);
  /// The client's: the key to propose. The server's: the key of that name.
  std::optional<KeptKey> key_to_propose();
  std::optional<KeptKey> key_named(std::string_view name);
  void forget_old_keys();
  static int propose(SSL* ssl, const EVP_MD* hash, const unsigned char** name, std::size_t* size,
                     SSL_SESSION** session);
  static int find(SSL* ssl, const unsigned char* name, std::size_t size, SSL_SESSION** session);

  const TlsSide side_;
  Trust trust_;  ///< as it is, once set_up() is done
  const std::string peer_name_;
  const std::vector<TlsCipher> ciphers_;
  OwnedSslContext context_;
  std::mutex mutex_;
  std::deque<KeptKey> kept_;  ///< of a shared key: one for each cipher, the fastest first; else the newest last
};

}  // namespace godwit
