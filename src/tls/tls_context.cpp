#include "tls/tls_context.h"

#include <fmt/format.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <algorithm>

namespace godwit {

namespace {

// A migration opens its lanes within seconds of its first connection.
constexpr Duration kKeptFor = std::chrono::minutes(1);
// One for each migration that begins within that time.
constexpr std::size_t kMostKept = 64;
constexpr std::string_view kExporterLabel = "EXPORTER-godwit-further-connections";
constexpr std::size_t kNameBytes = 16;
constexpr std::size_t kKeyBytes = 48;
// Not those that cost a stranger nothing and this side milliseconds (ffdhe).
constexpr char kGroups[] = "X25519:P-256:P-384";
constexpr unsigned char kSessionContext[] = "godwit";

std::string hex(const unsigned char* bytes, std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

const TlsCipher* cipher_named(std::string_view name) {
  const auto found = std::ranges::find(tls_ciphers(), name, &TlsCipher::name);
  return found == tls_ciphers().end() ? nullptr : &*found;
}

/// What TLS is given of a shared key. TLS wants a key to be used with one hash only.
std::shared_ptr<const KeyBytes> key_for_hash(SharedKey& shared, std::string_view hash) {
  const std::unique_ptr<EVP_KDF, OpensslFree<EVP_KDF_free>> kind(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  if (!kind) return nullptr;
  const std::unique_ptr<EVP_KDF_CTX, OpensslFree<EVP_KDF_CTX_free>> derive(EVP_KDF_CTX_new(kind.get()));
  if (!derive) return nullptr;
  std::string digest = "SHA384";
  std::string info = fmt::format("godwit tls psk {}", hash);
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, shared.key.data(), shared.key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end(),
  };
  auto derived = std::make_shared<KeyBytes>(kKeyBytes);
  if (EVP_KDF_derive(derive.get(), derived->data(), derived->size(), parameters) != 1) return nullptr;
  return derived;
}

/// As OpenSSL takes a key from outside: as that of an earlier session.
SSL_SESSION* session_with(SSL* ssl, const KeyBytes& key, const TlsCipher& cipher) {
  OwnedSession session(SSL_SESSION_new());
  const SSL_CIPHER* const suite = SSL_CIPHER_find(ssl, cipher.id);
  if (!session || suite == nullptr || SSL_SESSION_set1_master_key(session.get(), key.data(), key.size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), suite) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1 ||
      SSL_SESSION_set1_id_context(session.get(), kSessionContext, sizeof kSessionContext - 1) != 1) {
    return nullptr;
  }
  return session.release();
}

TlsContext* context_of(SSL* ssl) {
  return static_cast<TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::make(TlsSide side, Trust trust, std::string peer_name) {
  std::shared_ptr<TlsContext> context(new TlsContext(side, std::move(trust), std::move(peer_name)));
  TRY(context->set_up());
  return context;
}

Status TlsContext::set_up() {
  ERR_clear_error();
  context_.reset(SSL_CTX_new(side_ == TlsSide::kClient ? TLS_client_method() : TLS_server_method()));
  if (!context_) return fail_openssl("TLS");
  SSL_CTX* const c = context_.get();
  SSL_CTX_set_app_data(c, this);
  auto* shared = std::get_if<SharedKey>(&trust_);
  // A key is bound to a hash: its owner proposes the cipher that it is bound to, and no other.
  std::string suites;
  for (const TlsCipher& cipher : ciphers_) {
    if (shared != nullptr && side_ == TlsSide::kClient && !suites.empty()) break;
    suites += (suites.empty() ? "" : ":") + std::string(cipher.name);
  }
  if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 || SSL_CTX_set_ciphersuites(c, suites.c_str()) != 1 ||
      SSL_CTX_set1_groups_list(c, kGroups) != 1 || SSL_CTX_set_num_tickets(c, 0) != 1 ||
      SSL_CTX_set_session_id_context(c, kSessionContext, sizeof kSessionContext - 1) != 1) {
    return fail_openssl("TLS 1.3");
  }
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  // Keys that need a passphrase are refused without asking anybody.
  SSL_CTX_set_default_passwd_cb(c, [](char*, int, int, void*) { return -1; });
  SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_psk_use_session_callback(c, propose);
  SSL_CTX_set_psk_find_session_callback(c, find);
  if (shared != nullptr) return derive_keys(*shared);
  const auto* files = std::get_if<CertificateFiles>(&trust_);
  return files == nullptr ? Status{} : load(*files);
}

/// Once, not whenever a stranger names them; the shared one is not needed any more then.
Status TlsContext::derive_keys(SharedKey& shared) {
  for (const TlsCipher& cipher : ciphers_) {
    auto key = key_for_hash(shared, cipher.hash);
    if (!key) return fail_openssl("derive a key from the shared one");
    kept_.push_back({.name = fmt::format("{}/{}", shared.identity, cipher.hash),
                     .key = std::move(key),
                     .cipher = cipher_named(cipher.name),
                     .since = Instant::max()});
  }
  shared.key.wipe();
  return {};
}

Status TlsContext::load(const CertificateFiles& files) {
  SSL_CTX* const c = context_.get();
  X509_STORE* const store = SSL_CTX_get_cert_store(c);
  if (X509_STORE_load_file(store, files.ca.c_str()) != 1) {
    return fail_openssl(fmt::format("the CA's certificate {} cannot be used", files.ca), ErrorKind::kInvalidArgument);
  }
  if (!files.crl.empty()) {
    // Lists alone: a certificate in this file would be trusted, too.
    X509_LOOKUP* const lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (lookup == nullptr || X509_load_crl_file(lookup, files.crl.c_str(), X509_FILETYPE_PEM) < 1) {
      return fail_openssl(fmt::format("the list of revoked certificates {} cannot be used", files.crl),
                          ErrorKind::kInvalidArgument);
    }
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
  }
  return load_own(files);
}

Status TlsContext::load_own(const CertificateFiles& files) {
  SSL_CTX* const c = context_.get();
  if (SSL_CTX_use_certificate_chain_file(c, files.certificate.c_str()) != 1) {
    return fail_openssl(fmt::format("this side's certificate {} cannot be used", files.certificate),
                        ErrorKind::kInvalidArgument);
  }
  TRY_IN("this side's private key", refuse_readable_by_all(files.key));
  if (SSL_CTX_use_PrivateKey_file(c, files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return fail_openssl(fmt::format("this side's private key {} cannot be used with {}", files.key, files.certificate),
                        ErrorKind::kInvalidArgument);
  }
  return {};
}

Result<OwnedSsl> TlsContext::new_ssl() {
  ERR_clear_error();
  OwnedSsl ssl(SSL_new(context_.get()));
  if (!ssl) return fail_openssl("TLS");
  if (side_ == TlsSide::kClient) {
    SSL_set_connect_state(ssl.get());
  } else {
    SSL_set_accept_state(ssl.get());
  }
  if (!std::holds_alternative<CertificateFiles>(trust_) || peer_name_.empty()) return ssl;
  X509_VERIFY_PARAM* const verify = SSL_get0_param(ssl.get());
  // An IP address is one in the certificate too, never a name.
  if (X509_VERIFY_PARAM_set1_ip_asc(verify, peer_name_.c_str()) == 1) return ssl;
  X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (X509_VERIFY_PARAM_set1_host(verify, peer_name_.c_str(), peer_name_.size()) != 1) {
    return fail_openssl(fmt::format("'{}' is not a name that a certificate can have", peer_name_),
                        ErrorKind::kInvalidArgument);
  }
  return ssl;
}

void TlsContext::keep_key_of(SSL& ssl) {
  if (std::holds_alternative<SharedKey>(trust_) || SSL_session_reused(&ssl) == 1) return;
  const SSL_CIPHER* const suite = SSL_get_current_cipher(&ssl);
  const TlsCipher* const cipher = suite == nullptr ? nullptr : cipher_named(SSL_CIPHER_get_name(suite));
  KeyBytes exported(kNameBytes + kKeyBytes);
  if (cipher == nullptr || SSL_export_keying_material(&ssl, exported.data(), exported.size(), kExporterLabel.data(),
                                                      kExporterLabel.size(), nullptr, 0, 0) != 1) {
    return;  // further connections show certificates, too
  }
  auto key = std::make_shared<KeyBytes>();
  key->add(exported.bytes().subspan(kNameBytes));
  KeptKey kept{.name = "lane/" + hex(exported.data(), kNameBytes),
               .key = std::move(key),
               .cipher = cipher,
               .since = SteadyClock().now()};
  const std::lock_guard lock(mutex_);
  forget_old_keys();
  kept_.push_back(std::move(kept));
  if (kept_.size() > kMostKept) kept_.pop_front();
}

std::optional<TlsContext::KeptKey> TlsContext::key_to_propose() {
  const std::lock_guard lock(mutex_);
  if (kept_.empty()) return std::nullopt;
  // Of a shared key's the first is that of the fastest cipher; of the others the newest is this migration's.
  return std::holds_alternative<SharedKey>(trust_) ? kept_.front() : kept_.back();
}

std::optional<TlsContext::KeptKey> TlsContext::key_named(std::string_view name) {
  const std::lock_guard lock(mutex_);
  forget_old_keys();
  const auto found = std::ranges::find(kept_, name, &KeptKey::name);
  return found == kept_.end() ? std::nullopt : std::optional(*found);
}

/// With the lock held.
void TlsContext::forget_old_keys() {
  const Instant now = SteadyClock().now();
  std::erase_if(kept_, [now](const KeptKey& key) { return key.since != Instant::max() && now - key.since > kKeptFor; });
}

int TlsContext::propose(SSL* ssl, const EVP_MD* hash, const unsigned char** name, std::size_t* size,
                        SSL_SESSION** session) {
  *session = nullptr;
  const auto key = context_of(ssl)->key_to_propose();
  if (!key) return 1;
  // The second call after the peer has asked for another group: only a key for the hash that it has chosen fits.
  if (hash != nullptr && EVP_MD_is_a(hash, std::string(key->cipher->hash).c_str()) != 1) return 1;
  // OpenSSL copies the name at once.
  static thread_local std::string proposed;
  proposed = key->name;
  *name = reinterpret_cast<const unsigned char*>(proposed.data());
  *size = proposed.size();
  *session = session_with(ssl, *key->key, *key->cipher);
  return *session == nullptr ? 0 : 1;
}

int TlsContext::find(SSL* ssl, const unsigned char* name, std::size_t size, SSL_SESSION** session) {
  *session = nullptr;
  const auto key = context_of(ssl)->key_named({reinterpret_cast<const char*>(name), size});
  if (!key) return 1;
  *session = session_with(ssl, *key->key, *key->cipher);
  return *session == nullptr ? 0 : 1;
}

}  // namespace godwit
