// A bound on what all lanes send together (--bandwidth).
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "base/clock.h"
#include "base/units.h"
#include "net/channel.h"

namespace godwit {

/// A token bucket shared by the channels of a migration. Any thread.
class RateLimit {
 public:
  /// Bursts of up to `burst` seconds' worth of bytes. A rate of 0 sets no bound.
  RateLimit(BitRate rate, const Clock& clock, Duration burst = std::chrono::milliseconds(20));
  /// Takes `bytes` out of the bucket, which may go into debt, and gives how long the caller must wait before sending.
  Duration take(std::uint64_t bytes) noexcept;
  /// Bytes that have been taken and not been made good by time yet.
  std::uint64_t taken() noexcept;
  /// Whether there is a bound now.
  bool bounds() noexcept;
  /// No bound from here on: the switchover does not wait for a budget. Wakes those that wait.
  void lift() noexcept;
  /// The bound counts again, as if nothing had been taken before.
  void impose() noexcept;

  /// Another bound, 0: none; one that is lifted stays so. Wakes those that wait by the old one.
  void change(BitRate rate) noexcept;

  /// Besides the bound: so fast at most, and evenly, so that what does not keep to this limit finds no queue on the
  /// link. 0: as fast as goes. Outlives lift().
  void pace(double bytes_per_second) noexcept;
  /// What is to be taken at once.
  std::size_t piece() noexcept;

  /// Sleeps for `time`, but not after lift() or change(), nor after interrupt() when `stop` is set: true in
  /// these cases. Real time, whatever the clock.
  bool pause_for(Duration time, const std::atomic<bool>& stop);
  /// Makes all that sleep look at their `stop` again.
  void interrupt() noexcept;

 private:
  void fill() noexcept;
  bool unbounded() const noexcept { return bytes_per_second_ == 0; }
  void settle() noexcept;

  std::mutex mutex_;
  std::condition_variable changed_;
  const Clock& clock_;
  const double burst_seconds_;
  double bound_;                 ///< bytes per second; 0: none
  double pace_ = 0;              ///< likewise
  double bytes_per_second_ = 0;  ///< what counts of them; 0: nothing does
  double burst_bytes_ = 0;
  double tokens_ = 0;
  Instant filled_at_;
  bool lifted_ = false;
  unsigned changes_ = 0;
};

/// A channel whose write() keeps to the limit; everything else goes to `inner`.
std::unique_ptr<Channel> limit_rate(std::unique_ptr<Channel> inner, std::shared_ptr<RateLimit> limit);

}  // namespace godwit
