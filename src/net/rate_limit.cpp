// A token bucket, and a channel that keeps to it.
//
//   write(1 MiB) -> | 64 KiB | 64 KiB | ... each: take from the bucket, sleep off the debt, write --> inner channel
//
// Lanes share the bucket piece by piece, so each gets about the same. Debt makes the arithmetic exact over time: a
// sleep that ran long is made good by the next piece, which finds the bucket fuller.
#include "net/rate_limit.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace godwit {
namespace {

// Small enough that lanes take turns many times a second at any rate worth having, large enough that a sendmsg and a
// mutex per piece cost nothing (10 Gbit/s is 19,000 pieces a second).
constexpr std::size_t kPieceSize = 64 * 1024;
// Where a pace is kept: what others then find before them on the link.
constexpr double kPacedPieceSeconds = 150e-6;
constexpr double kPacedBurstSeconds = 300e-6;
constexpr std::size_t kLeastPiece = 16 * 1024;

// Keeps the sum below from running over at absurd rates; nobody waits that long for one piece.
constexpr double kLongestWaitSeconds = 24 * 3600;

}  // namespace

RateLimit::RateLimit(BitRate rate, const Clock& clock, Duration burst)
    : clock_(clock),
      burst_seconds_(std::chrono::duration<double>(burst).count()),
      bound_(rate.bytes_per_second()),
      filled_at_(clock.now()) {
  settle();
  tokens_ = burst_bytes_;
}

/// What counts after a change.
void RateLimit::settle() noexcept {
  const double bound = lifted_ ? 0 : bound_;
  const bool paced = pace_ > 0 && (bound == 0 || pace_ <= bound);
  bytes_per_second_ = paced ? pace_ : bound;
  burst_bytes_ = bytes_per_second_ * (paced ? kPacedBurstSeconds : burst_seconds_);
}

Duration RateLimit::take(std::uint64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  if (unbounded()) return Duration::zero();
  fill();
  tokens_ -= static_cast<double>(bytes);
  if (tokens_ >= 0) return Duration::zero();
  const double seconds = std::min(-tokens_ / bytes_per_second_, kLongestWaitSeconds);
  return std::chrono::ceil<Duration>(std::chrono::duration<double>(seconds));
}

std::uint64_t RateLimit::taken() noexcept {
  const std::lock_guard lock(mutex_);
  if (unbounded()) return 0;
  fill();
  return static_cast<std::uint64_t>(burst_bytes_ - tokens_);
}

bool RateLimit::bounds() noexcept {
  const std::lock_guard lock(mutex_);
  return !unbounded();
}

void RateLimit::fill() noexcept {
  const Instant now = clock_.now();
  const double earned = std::chrono::duration<double>(now - filled_at_).count() * bytes_per_second_;
  filled_at_ = now;
  tokens_ = std::min(burst_bytes_, tokens_ + earned);
}

void RateLimit::lift() noexcept {
  {
    const std::lock_guard lock(mutex_);
    lifted_ = true;
    settle();
    tokens_ = std::min(tokens_, burst_bytes_);
  }
  changed_.notify_all();
}

void RateLimit::impose() noexcept {
  const std::lock_guard lock(mutex_);
  lifted_ = false;
  settle();
  tokens_ = burst_bytes_;
  filled_at_ = clock_.now();
}

void RateLimit::change(BitRate rate) noexcept {
  {
    const std::lock_guard lock(mutex_);
    bound_ = rate.bytes_per_second();
    settle();
    tokens_ = burst_bytes_;
    filled_at_ = clock_.now();
    ++changes_;
  }
  changed_.notify_all();
}

void RateLimit::pace(double bytes_per_second) noexcept {
  const std::lock_guard lock(mutex_);
  fill();
  pace_ = bytes_per_second;
  settle();
  tokens_ = std::min(tokens_, burst_bytes_);
}

std::size_t RateLimit::piece() noexcept {
  const std::lock_guard lock(mutex_);
  if (bytes_per_second_ != pace_ || pace_ == 0) return kPieceSize;
  return std::clamp(static_cast<std::size_t>(pace_ * kPacedPieceSeconds), kLeastPiece, kPieceSize);
}

bool RateLimit::pause_for(Duration time, const std::atomic<bool>& stop) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [&, then = changes_] { return unbounded() || changes_ != then || stop; });
}

void RateLimit::interrupt() noexcept {
  // Under the mutex, or a sleeper that has just looked at its flag would miss this.
  { const std::lock_guard lock(mutex_); }
  changed_.notify_all();
}

namespace {

/// The link below, with what the limit adds to its waits and its queue.
class LimitedLink final : public Link {
 public:
  LimitedLink(Link& inner, RateLimit& limit) : inner_(inner), limit_(limit) {}
  std::uint64_t bytes_sent() const noexcept override { return inner_.bytes_sent(); }
  std::uint64_t bytes_received() const noexcept override { return inner_.bytes_received(); }
  SendWaits send_waits() const noexcept override {
    SendWaits waits = inner_.send_waits();
    waits.total += waited_;
    return waits;
  }
  /// A bucket that can give no more is a queue that can take no more.
  SendQueue send_queue() noexcept override {
    SendQueue queue = inner_.send_queue();
    queue.bytes += limit_.taken();
    return queue;
  }
  void bear_silence(Duration dead_after) noexcept override { inner_.bear_silence(dead_after); }
  Duration queueing() const noexcept override { return inner_.queueing(); }
  int descriptor() const noexcept override { return inner_.descriptor(); }
  const std::string& peer() const noexcept override { return inner_.peer(); }
  std::string security() const override { return inner_.security(); }
  void add_wait(Duration waited) noexcept { waited_ += waited; }

 private:
  Link& inner_;
  RateLimit& limit_;
  Duration waited_{};  ///< for the bucket
};

class LimitedChannel final : public Channel {
 public:
  LimitedChannel(std::unique_ptr<Channel> inner, std::shared_ptr<RateLimit> limit)
      : inner_(std::move(inner)), limit_(std::move(limit)), link_(inner_->link(), *limit_) {}

  Status write(std::span<const iovec> parts, const Deadline& until) override;
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override {
    return inner_->read(room, at_least, until);
  }
  Status shut_down() override { return inner_->shut_down(); }
  void abort() noexcept override {
    aborted_ = true;
    inner_->abort();
    limit_->interrupt();
  }
  Link& link() noexcept override { return link_; }

 private:
  Status write_piece(std::span<const iovec> parts, std::size_t bytes, const Deadline& until);
  Status await_bucket(Duration wait, const Deadline& until);

  std::unique_ptr<Channel> inner_;
  std::shared_ptr<RateLimit> limit_;
  LimitedLink link_;
  std::atomic<bool> aborted_{false};
};

/// The debt that was made is paid by whoever comes next, also where this one gives up.
Status LimitedChannel::await_bucket(Duration wait, const Deadline& until) {
  const auto began = std::chrono::steady_clock::now();
  Duration waited{};
  bool woken = false;
  while (!woken && waited < wait && !until.over()) {
    woken = limit_->pause_for(std::min(wait - waited, until.wait()), aborted_);
    waited = std::chrono::steady_clock::now() - began;
  }
  link_.add_wait(waited);
  if (woken || waited >= wait) return {};
  return fail(ErrorKind::kTimedOut, fmt::format("the rate limit let too little through within {:.3g} s",
                                                std::chrono::duration<double>(until.allowed()).count()));
}

Status LimitedChannel::write_piece(std::span<const iovec> parts, std::size_t bytes, const Deadline& until) {
  const Duration wait = limit_->take(bytes);
  if (wait > Duration::zero()) TRY(await_bucket(wait, until));
  // After an abort the inner channel says so.
  return inner_->write(parts, until);
}

Status LimitedChannel::write(std::span<const iovec> parts, const Deadline& until) {
  if (!limit_->bounds()) return inner_->write(parts, until);
  std::vector<iovec> piece;
  const std::size_t piece_size = limit_->piece();
  std::size_t bytes = 0;
  for (iovec part : parts) {
    while (part.iov_len > 0) {
      const std::size_t taken = std::min(part.iov_len, piece_size - bytes);
      piece.push_back({part.iov_base, taken});
      part.iov_base = static_cast<std::byte*>(part.iov_base) + taken;
      part.iov_len -= taken;
      bytes += taken;
      if (bytes < piece_size) continue;
      TRY(write_piece(piece, bytes, until));
      piece.clear();
      bytes = 0;
    }
  }
  // Also when nothing is left, so that an aborted channel says so.
  return bytes > 0 ? write_piece(piece, bytes, until) : inner_->write({}, until);
}

}  // namespace

std::unique_ptr<Channel> limit_rate(std::unique_ptr<Channel> inner, std::shared_ptr<RateLimit> limit) {
  return std::make_unique<LimitedChannel>(std::move(inner), std::move(limit));
}

}  // namespace godwit
