// One side of TLS 1.3 between two rows of bytes, without a connection.
//
//   bytes from the peer --room(), fed()--> [ TLS ] --decrypt()--> what it has said
//   bytes for the peer  <--output()------- [ TLS ] <--encrypt()-- what it shall be told
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "tls/tls_context.h"

namespace godwit {

/// One thread at a time.
class TlsSession {
 public:
  /// AES-GCM is safe for 2^24.5 records with one key (RFC 8446, 5.5).
  static constexpr std::uint64_t kRecordsAKey = std::uint64_t{1} << 22U;
  /// `peer`: as messages name it. After `records_a_key` this side changes the key that it encrypts with.
  static Result<std::unique_ptr<TlsSession>> make(std::shared_ptr<TlsContext> context, std::string peer,
                                                  std::uint64_t records_a_key = kRecordsAKey);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  /// Where the peer's next bytes go; empty while decrypt() has not taken those that are here.
  MutableBytes room();
  void fed(std::size_t bytes) noexcept { input_end_ += bytes; }
  /// For the peer, in this order; the caller empties it.
  std::vector<std::byte>& output() noexcept { return output_; }

  /// Goes on with the handshake: true when it is done. kRefused: the two sides do not trust each other; output() tells
  /// the peer.
  Result<bool> handshake();
  /// How many bytes of what the peer has said went into `room`. 0: more must be fed. kPeerLost: it has said its last,
  /// kRefused: it does not trust this side. Goes on with the handshake until that is done.
  Result<std::size_t> decrypt(MutableBytes room);
  /// After the handshake.
  Status encrypt(Bytes bytes);
  /// Tells the peer that no more will come.
  void finish();

  /// "TLS 1.3, AES-256-GCM, certificate of 'host-b'" once the handshake is done; before that nothing.
  const std::string& description() const noexcept { return description_; }

 private:
  TlsSession(std::shared_ptr<TlsContext> context, std::string peer, std::uint64_t records_a_key)
      : context_(std::move(context)), peer_(std::move(peer)), records_a_key_(records_a_key) {}
  tl::unexpected<Error> fail_for_good(int result);
  void describe();
  static int verify(int fine, X509_STORE_CTX* store);
  static BIO_METHOD* rows();
  static int put(BIO* bio, const char* bytes, int size);
  static int get(BIO* bio, char* bytes, int size);
  static long control(BIO* bio, int command, long number, void* pointer);

  std::shared_ptr<TlsContext> context_;
  std::string peer_;
  std::uint64_t records_a_key_;
  OwnedSsl ssl_;
  std::vector<std::byte> input_;
  std::size_t input_at_ = 0, input_end_ = 0;  ///< of input_: not taken yet
  std::vector<std::byte> output_;
  std::optional<std::string> unverified_;  ///< what this side has against the peer's certificate
  std::string description_;
  std::optional<Error> failed_;  ///< again for whoever asks again
  bool done_ = false;            ///< the handshake
  std::uint64_t records_ = 0;    ///< encrypted with the present key
};

}  // namespace godwit
