// A token bucket, and a channel that keeps to it.
//
//   send(1 MiB) -> | 64 KiB | 64 KiB | ... each: take from the bucket, sleep off the debt, send --> inner channel
//
// Lanes share the bucket piece by piece, so each gets about the same. Debt makes the arithmetic exact over time: a
// sleep that ran long is made good by the next piece, which finds the bucket fuller.
#include "net/rate_limit.h"

#include <algorithm>
#include <vector>

namespace godwit {
namespace {

// Small enough that lanes take turns many times a second at any rate worth having, large enough that a sendmsg and a
// mutex per piece cost nothing (10 Gbit/s is 19,000 pieces a second).
constexpr std::size_t kPieceSize = 64 * 1024;

// Keeps the sum below from running over at absurd rates; nobody waits that long for one piece.
constexpr double kLongestWaitSeconds = 24 * 3600;

}  // namespace

RateLimit::RateLimit(BitRate rate, const Clock& clock, Duration burst)
    : clock_(clock),
      bytes_per_second_(rate.bytes_per_second()),
      burst_bytes_(bytes_per_second_ * std::chrono::duration<double>(burst).count()),
      tokens_(burst_bytes_),
      filled_at_(clock.now()),
      lifted_(rate.bits_per_second == 0) {}

Duration RateLimit::take(std::uint64_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  if (lifted_) return Duration::zero();
  fill();
  tokens_ -= static_cast<double>(bytes);
  if (tokens_ >= 0) return Duration::zero();
  const double seconds = std::min(-tokens_ / bytes_per_second_, kLongestWaitSeconds);
  return std::chrono::ceil<Duration>(std::chrono::duration<double>(seconds));
}

std::uint64_t RateLimit::taken() noexcept {
  const std::lock_guard lock(mutex_);
  if (lifted_) return 0;
  fill();
  return static_cast<std::uint64_t>(burst_bytes_ - tokens_);
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
  }
  changed_.notify_all();
}

void RateLimit::pause_for(Duration time, const std::atomic<bool>& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [&] { return lifted_ || stop; });
}

void RateLimit::interrupt() noexcept {
  // Under the mutex, or a sleeper that has just looked at its flag would miss this.
  { const std::lock_guard lock(mutex_); }
  changed_.notify_all();
}

namespace {

class LimitedChannel final : public Channel {
 public:
  LimitedChannel(std::unique_ptr<Channel> inner, std::shared_ptr<RateLimit> limit)
      : inner_(std::move(inner)), limit_(std::move(limit)) {}

  Status send(std::span<const iovec> parts) override;
  Status receive(MutableBytes exactly) override { return inner_->receive(exactly); }
  Result<std::size_t> receive_some(MutableBytes room) override { return inner_->receive_some(room); }
  int descriptor() const noexcept override { return inner_->descriptor(); }
  Status finish_sending() override { return inner_->finish_sending(); }
  void abort() noexcept override {
    aborted_ = true;
    inner_->abort();
    limit_->interrupt();
  }
  void set_receive_timeout(Duration timeout) noexcept override { inner_->set_receive_timeout(timeout); }
  std::uint64_t bytes_sent() const noexcept override { return inner_->bytes_sent(); }
  std::uint64_t bytes_received() const noexcept override { return inner_->bytes_received(); }
  SendWaits send_waits() const noexcept override {
    SendWaits waits = inner_->send_waits();
    waits.total += waited_;
    return waits;
  }
  /// A bucket that can give no more is a queue that can take no more.
  SendQueue send_queue() noexcept override {
    SendQueue queue = inner_->send_queue();
    queue.bytes += limit_->taken();
    return queue;
  }

 private:
  Status send_piece(std::span<const iovec> parts, std::size_t bytes);

  std::unique_ptr<Channel> inner_;
  std::shared_ptr<RateLimit> limit_;
  std::atomic<bool> aborted_{false};
  Duration waited_{};  ///< for the bucket
};

Status LimitedChannel::send_piece(std::span<const iovec> parts, std::size_t bytes) {
  const Duration wait = limit_->take(bytes);
  if (wait > Duration::zero()) {
    const auto began = std::chrono::steady_clock::now();
    limit_->pause_for(wait, aborted_);
    waited_ += std::chrono::steady_clock::now() - began;
  }
  // After an abort the inner channel says so.
  return inner_->send(parts);
}

Status LimitedChannel::send(std::span<const iovec> parts) {
  std::vector<iovec> piece;
  std::size_t bytes = 0;
  for (iovec part : parts) {
    while (part.iov_len > 0) {
      const std::size_t taken = std::min(part.iov_len, kPieceSize - bytes);
      piece.push_back({part.iov_base, taken});
      part.iov_base = static_cast<std::byte*>(part.iov_base) + taken;
      part.iov_len -= taken;
      bytes += taken;
      if (bytes < kPieceSize) continue;
      TRY(send_piece(piece, bytes));
      piece.clear();
      bytes = 0;
    }
  }
  // Also when nothing is left, so that an aborted channel says so.
  return bytes > 0 ? send_piece(piece, bytes) : inner_->send({});
}

}  // namespace

std::unique_ptr<Channel> limit_rate(std::unique_ptr<Channel> inner, std::shared_ptr<RateLimit> limit) {
  return std::make_unique<LimitedChannel>(std::move(inner), std::move(limit));
}

}  // namespace godwit
