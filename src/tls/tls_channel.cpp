#include "tls/tls_channel.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>

#include "tls/tls_failure.h"
#include "tls/tls_session.h"

namespace godwit {

namespace {

// What TLS puts into one record: shorter pieces would each cost a record's own bytes and work.
constexpr std::size_t kPiece = 16 * 1024;
// One system call for so much; it stays in L2.
constexpr std::size_t kFlushAt = 256 * 1024;
// The first byte of every connection that speaks TLS, and of one that speaks Godwit's protocol in the clear.
constexpr std::byte kHandshakeRecord{22};
constexpr std::byte kAlertRecord{21};
constexpr std::byte kGodwitGreets{'G'};
constexpr std::string_view kPerhapsNoTls =
    " before it had said anything; is `godwit receive` there started with --tls-dir or --tls-psk, as this side is?";

/// The link below, and what protects it.
class TlsLink final : public Link {
 public:
  TlsLink(Link& inner, const TlsSession& session, std::mutex& mutex)
      : inner_(inner), session_(session), mutex_(mutex) {}
  std::uint64_t bytes_sent() const noexcept override { return inner_.bytes_sent(); }
  std::uint64_t bytes_received() const noexcept override { return inner_.bytes_received(); }
  SendWaits send_waits() const noexcept override { return inner_.send_waits(); }
  SendQueue send_queue() noexcept override { return inner_.send_queue(); }
  void bear_silence(Duration dead_after) noexcept override { inner_.bear_silence(dead_after); }
  Duration queueing() const noexcept override { return inner_.queueing(); }
  int descriptor() const noexcept override { return inner_.descriptor(); }
  const std::string& peer() const noexcept override { return inner_.peer(); }
  std::string security() const override {
    const std::lock_guard lock(mutex_);
    return session_.description();
  }

 private:
  Link& inner_;
  const TlsSession& session_;
  std::mutex& mutex_;
};

class TlsChannel final : public Channel {
 public:
  TlsChannel(std::unique_ptr<Channel> inner, std::unique_ptr<TlsSession> session, TlsSide side)
      : inner_(std::move(inner)), session_(std::move(session)), side_(side), link_(inner_->link(), *session_, mutex_) {}

  Status shake_hands(const Deadline& until);

  Status write(std::span<const iovec> parts, const Deadline& until) override;
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override;
  Status shut_down() override;
  void abort() noexcept override { inner_->abort(); }
  Link& link() noexcept override { return link_; }

 private:
  Status encrypt(Bytes bytes, const Deadline& until);
  Status flush(const Deadline& until);
  Result<std::size_t> decrypt(MutableBytes room);
  bool shaken_hands();
  Result<std::size_t> take(std::size_t at_least, const Deadline& until);
  tl::unexpected<Error> refuse(Error why);
  Result<std::size_t> drop_what_comes();

  std::unique_ptr<Channel> inner_;
  std::unique_ptr<TlsSession> session_;
  const TlsSide side_;
  mutable std::mutex mutex_;  ///< session_, begun_, refused_
  std::mutex writing_;        ///< the order in which the session's output goes to inner_; taken before mutex_
  TlsLink link_;
  bool begun_ = false;         ///< the peer's first byte has come
  bool in_the_clear_ = false;  ///< the peer knows no TLS: it is told so in the clear
  bool torn_ = false;          ///< an unknown part of some output has been sent; with writing_
  std::optional<Error> refused_;
  std::vector<std::byte> sending_;          ///< the writer's
  std::array<std::byte, kPiece> gathered_;  ///< the writer's
};

Status TlsChannel::shake_hands(const Deadline& until) {
  while (true) {
    bool done = false;
    {
      const std::lock_guard lock(mutex_);
      auto result = session_->handshake();
      if (!result) refused_ = result.error();
      done = result.value_or(false);
    }
    const std::lock_guard writing(writing_);
    const Status sent = flush(until);
    // Why this side refuses the peer says more than that the peer is gone.
    if (refused_) return fail(*refused_);
    if (!sent) return fail(sent.error());
    if (done) return {};
    const auto got = take(1, until);
    if (got) continue;
    if (refused_) return fail(*refused_);
    Error error = got.error();
    if (error.kind == ErrorKind::kPeerLost && !begun_) error.message += std::string(kPerhapsNoTls);
    // A peer that does not go on is lost: nobody tries again on this connection.
    if (error.kind == ErrorKind::kTimedOut) error.kind = ErrorKind::kPeerLost;
    return fail(std::move(error).in("TLS handshake"));
  }
}

bool TlsChannel::shaken_hands() {
  const std::lock_guard lock(mutex_);
  return !session_->description().empty();
}

/// Reads from the connection into the session.
Result<std::size_t> TlsChannel::take(std::size_t at_least, const Deadline& until) {
  MutableBytes room;
  {
    const std::lock_guard lock(mutex_);
    room = session_->room();
  }
  const std::size_t got = TRY(inner_->read(room, at_least, until));
  const std::lock_guard lock(mutex_);
  if (got > 0 && !begun_) {
    begun_ = true;
    if (room[0] != kHandshakeRecord && room[0] != kAlertRecord) {
      in_the_clear_ = side_ == TlsSide::kServer && room[0] == kGodwitGreets;
      return refuse(explain_no_tls(link_.peer(), side_, in_the_clear_));
    }
  }
  session_->fed(got);
  return got;
}

/// With the mutex.
tl::unexpected<Error> TlsChannel::refuse(Error why) {
  refused_ = why;
  return fail(std::move(why));
}

Status TlsChannel::write(std::span<const iovec> parts, const Deadline& until) {
  const std::lock_guard writing(writing_);
  if (in_the_clear_) return inner_->write(parts, until);
  if (torn_) {
    TRY(inner_->write({}, until));  // after an abort, that it was aborted
    return fail(ErrorKind::kPeerLost, fmt::format("send to {}: an earlier write was not finished", link_.peer()));
  }
  std::size_t have = 0;
  for (const iovec& part : parts) {
    Bytes bytes(static_cast<const std::byte*>(part.iov_base), part.iov_len);
    while (!bytes.empty()) {
      if (have == 0 && bytes.size() >= kPiece) {
        const Bytes whole = bytes.first(bytes.size() / kPiece * kPiece);
        for (Bytes rest = whole; !rest.empty();) {
          const Bytes piece = rest.first(std::min(rest.size(), kFlushAt));
          TRY(encrypt(piece, until));
          rest = rest.subspan(piece.size());
        }
        bytes = bytes.subspan(whole.size());
        continue;
      }
      const std::size_t taken = std::min(bytes.size(), kPiece - have);
      std::memcpy(gathered_.data() + have, bytes.data(), taken);
      have += taken;
      bytes = bytes.subspan(taken);
      if (have < kPiece) continue;
      TRY(encrypt(gathered_, until));
      have = 0;
    }
  }
  if (have > 0) TRY(encrypt(Bytes(gathered_).first(have), until));
  return flush(until);
}

/// Sends what is ready when that is enough.
Status TlsChannel::encrypt(Bytes bytes, const Deadline& until) {
  bool enough = false;
  {
    const std::lock_guard lock(mutex_);
    if (refused_) return fail(*refused_);
    TRY(session_->encrypt(bytes));
    enough = session_->output().size() >= kFlushAt;
  }
  return enough ? flush(until) : Status{};
}

/// By whoever holds writing_.
Status TlsChannel::flush(const Deadline& until) {
  {
    const std::lock_guard lock(mutex_);
    sending_.clear();
    std::swap(sending_, session_->output());
  }
  // Also when there is nothing, so that an aborted channel says so.
  const Status sent = send_bytes(*inner_, sending_, until);
  if (!sent) torn_ = true;
  return sent;
}

Result<std::size_t> TlsChannel::read(MutableBytes room, std::size_t at_least, const Deadline& until) {
  TRY(inner_->read({}, 0, until));  // fails after abort(), whatever is kept here
  if (refused_) return drop_what_comes();
  at_least = std::min(at_least, room.size());
  for (std::size_t have = 0;;) {
    const auto got = decrypt(room.subspan(have));
    // What came before an end or an error is given first; the next call meets it again.
    const bool enough = have > 0 && have >= at_least;
    if (!got) return enough ? Result<std::size_t>(have) : fail(got.error());
    have += *got;
    if ((at_least > 0 && have >= at_least) || (have > 0 && have == room.size())) return have;
    if (*got > 0) continue;
    const bool greets = !shaken_hands();
    const auto came = take(have < at_least ? 1 : 0, until);
    if (!came && !enough) return fail(came.error());
    if (!came || *came == 0) return have;
    // A handshake may be drawn out: whoever waits for nothing looks after others in between. What is left makes poll()
    // return again.
    if (greets && at_least == 0) return decrypt(room);
  }
}

Result<std::size_t> TlsChannel::decrypt(MutableBytes room) {
  Result<std::size_t> got = std::size_t{0};
  bool answers = false;
  {
    const std::lock_guard lock(mutex_);
    got = session_->decrypt(room);
    if (!got && got.error().kind == ErrorKind::kRefused) refused_ = got.error();
    answers = !session_->output().empty();
  }
  // Whoever is writing just now sends it along; what does not fit into a fresh socket is not waited for.
  if (answers) {
    const std::unique_lock writing(writing_, std::try_to_lock);
    if (writing) {
      const Status sent = flush(Deadline::in(Duration::zero()));
      // What follows would not be understood there, which a time-out would hide.
      if (!sent && got) {
        inner_->abort();
        return fail(ErrorKind::kPeerLost, fmt::format("answer {} in TLS: {}", link_.peer(), sent.error().message));
      }
    }
  }
  return got;
}

/// What a peer that has been refused says before it has read why.
Result<std::size_t> TlsChannel::drop_what_comes() {
  std::array<std::byte, 4096> dropped;
  TRY(inner_->read(dropped, 0, Deadline::never()));
  return std::size_t{0};
}

/// Never waits: whoever shuts down may have to end a write() that does not get on.
Status TlsChannel::shut_down() {
  const std::unique_lock writing(writing_, std::try_to_lock);
  // In the middle of a record nobody would understand a goodbye. An end without one is an end, too: the messages of a
  // migration say whether it is over.
  if (writing && !torn_) {
    {
      const std::lock_guard lock(mutex_);
      session_->finish();
    }
    (void)flush(Deadline::in(Duration::zero()));
  }
  return inner_->shut_down();
}

}  // namespace

Wrap tls_connected(std::shared_ptr<TlsContext> context, Duration handshake_timeout) {
  return [context = std::move(context),
          handshake_timeout](std::unique_ptr<Channel> fresh) -> Result<std::unique_ptr<Channel>> {
    auto session = TRY(TlsSession::make(context, fresh->link().peer()));
    auto channel = std::make_unique<TlsChannel>(std::move(fresh), std::move(session), TlsSide::kClient);
    TRY(channel->shake_hands(Deadline::in(handshake_timeout)));
    return std::unique_ptr<Channel>(std::move(channel));
  };
}

Wrap tls_accepted(std::shared_ptr<TlsContext> context) {
  return [context = std::move(context)](std::unique_ptr<Channel> fresh) -> Result<std::unique_ptr<Channel>> {
    auto session = TRY(TlsSession::make(context, fresh->link().peer()));
    return std::make_unique<TlsChannel>(std::move(fresh), std::move(session), TlsSide::kServer);
  };
}

}  // namespace godwit
