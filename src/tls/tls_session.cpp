#include "tls/tls_session.h"

#include <fmt/format.h>
#include <openssl/err.h>

#include <algorithm>
#include <cstring>

#include "tls/tls_failure.h"

namespace godwit {

namespace {

// Handshakes fit; a flood of connections costs little.
constexpr std::size_t kFirstInput = 8 * 1024;
// Eight records: a system call for each would cost a tenth of what decrypting it does.
constexpr std::size_t kInput = 128 * 1024;
constexpr std::size_t kLongestRecord = 16 * 1024;
constexpr std::size_t kLongestPiece = std::size_t{1} << 30U;

}  // namespace

Result<std::unique_ptr<TlsSession>> TlsSession::make(std::shared_ptr<TlsContext> context, std::string peer,
                                                     std::uint64_t records_a_key) {
  std::unique_ptr<TlsSession> session(new TlsSession(std::move(context), std::move(peer), records_a_key));
  session->ssl_ = TRY(session->context_->new_ssl());
  BIO* const bio = BIO_new(rows());
  if (bio == nullptr) return fail_openssl("TLS");
  BIO_set_data(bio, session.get());
  BIO_set_init(bio, 1);
  SSL* const ssl = session->ssl_.get();
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, session.get());
  if (std::holds_alternative<CertificateFiles>(session->context_->trust())) {
    SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify);
  } else if (session->context_->side() == TlsSide::kClient) {
    // No certificate proves anything to a side that has only a key.
    SSL_set_verify(ssl, SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 0; });
  }
  return session;
}

MutableBytes TlsSession::room() {
  if (input_at_ == input_end_) input_at_ = input_end_ = 0;
  if (input_at_ != 0) return {};
  const std::size_t wanted = done_ ? kInput : kFirstInput;
  if (input_.size() < wanted) input_.resize(wanted);
  return MutableBytes(input_).subspan(input_end_);
}

Result<bool> TlsSession::handshake() {
  if (failed_) return fail(*failed_);
  if (done_) return true;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    done_ = true;
    describe();
    context_->keep_key_of(*ssl_);
    return true;
  }
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ) return false;
  return fail_for_good(result);
}

Result<std::size_t> TlsSession::decrypt(MutableBytes room) {
  if (!TRY(handshake())) return std::size_t{0};
  std::size_t have = 0;
  while (have < room.size()) {
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_.get(), room.data() + have, room.size() - have, &got);
    if (result == 1) {
      have += got;
      continue;
    }
    if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ) break;
    // Comes again when what came before it has been taken.
    const auto failed = fail_for_good(result);
    if (have > 0) break;
    return failed;
  }
  return have;
}

Status TlsSession::encrypt(Bytes bytes) {
  if (failed_) return fail(*failed_);
  while (!bytes.empty()) {
    const Bytes piece = bytes.first(std::min(bytes.size(), kLongestPiece));
    ERR_clear_error();
    std::size_t taken = 0;
    if (records_ >= records_a_key_) {
      if (SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return fail_for_good(-1);
      records_ = 0;
    }
    const int result = SSL_write_ex(ssl_.get(), piece.data(), piece.size(), &taken);
    if (result != 1) return fail_for_good(result);
    records_ += (taken + kLongestRecord - 1) / kLongestRecord;
    bytes = bytes.subspan(taken);
  }
  return {};
}

void TlsSession::finish() {
  ERR_clear_error();
  if (done_ && !failed_) (void)SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

tl::unexpected<Error> TlsSession::fail_for_good(int result) {
  if (SSL_get_error(ssl_.get(), result) == SSL_ERROR_ZERO_RETURN) {
    // The other direction may go on.
    return fail(ErrorKind::kPeerLost, fmt::format("receive from {}: the peer closed the connection", peer_));
  }
  failed_ = explain_tls_failure({.peer = peer_,
                                 .side = context_->side(),
                                 .shared = std::get_if<SharedKey>(&context_->trust()),
                                 .unverified = unverified_,
                                 .error = ERR_peek_error()});
  return fail(*failed_);
}

void TlsSession::describe() {
  const SSL_CIPHER* const suite = SSL_get_current_cipher(ssl_.get());
  const auto cipher = std::ranges::find(tls_ciphers(), std::string_view(SSL_CIPHER_get_name(suite)), &TlsCipher::name);
  description_ = fmt::format("TLS 1.3, {}, ", cipher == tls_ciphers().end() ? "?" : cipher->cipher);
  if (const auto* shared = std::get_if<SharedKey>(&context_->trust())) {
    description_ += fmt::format("shared key '{}'", shared->identity);
  } else if (const X509* certificate = SSL_get0_peer_certificate(ssl_.get())) {
    description_ += fmt::format("certificate of {}", names_of_certificate(*certificate));
  } else {
    description_ += "the first connection's certificates";
  }
}

int TlsSession::verify(int fine, X509_STORE_CTX* store) {
  if (fine == 1) return 1;
  auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* const session = static_cast<TlsSession*>(SSL_get_app_data(ssl));
  if (!session->unverified_) {
    const auto& files = std::get<CertificateFiles>(session->context_->trust());
    session->unverified_ = explain_verification(*store, files, session->context_->peer_name());
  }
  return 0;
}

BIO_METHOD* TlsSession::rows() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* const m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "godwit rows of bytes");
    if (m != nullptr) {
      BIO_meth_set_write(m, put);
      BIO_meth_set_read(m, get);
      BIO_meth_set_ctrl(m, control);
    }
    return m;
  }();
  return method;
}

int TlsSession::put(BIO* bio, const char* bytes, int size) {
  auto& output = static_cast<TlsSession*>(BIO_get_data(bio))->output_;
  const auto* begin = reinterpret_cast<const std::byte*>(bytes);
  output.insert(output.end(), begin, begin + size);
  return size;
}

int TlsSession::get(BIO* bio, char* bytes, int size) {
  auto& session = *static_cast<TlsSession*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  const std::size_t taken = std::min(static_cast<std::size_t>(size), session.input_end_ - session.input_at_);
  if (taken == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::memcpy(bytes, session.input_.data() + session.input_at_, taken);
  session.input_at_ += taken;
  return static_cast<int>(taken);
}

long TlsSession::control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

}  // namespace godwit
