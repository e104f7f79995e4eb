// Records a hand-over, and holds it up where a test wants it to.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "vmm/hypervisor.h"

namespace godwit::testing {

inline constexpr Duration kDowntime = std::chrono::milliseconds(50);

/// Opened and ordered at once.
inline Status hand_over(SourceVm& vm, HandoverObserver& observer) {
  TRY(vm.open_handover(observer));
  return vm.order_handover(kDowntime);
}

class RecordingObserver final : public HandoverObserver {
 public:
  enum class Point { kNowhere, kFirstBytes, kGuestStopped };

  void guest_stopping(Instant at) override {
    const std::lock_guard lock(mutex_);
    stopping = at;
    ++calls;
    changed_.notify_all();
  }
  void guest_stopped_by_others(Instant at) override {
    const std::lock_guard lock(mutex_);
    stopped_by_others = at;
    ++calls;
    changed_.notify_all();
  }
  Status device_bytes(Bytes bytes) override {
    std::unique_lock lock(mutex_);
    ++calls;
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return wait_at(Point::kFirstBytes, lock);
  }
  Status guest_stopped(Instant at) override {
    std::unique_lock lock(mutex_);
    ++calls;
    stopped = at;
    before_stop = bytes_.size();
    changed_.notify_all();
    return wait_at(Point::kGuestStopped, lock);
  }
  std::uint64_t fits_into_pause() const override { return fits; }
  Status stream_ended(Instant at, std::uint64_t) override {
    const std::lock_guard lock(mutex_);
    ++calls;
    ended = at;
    changed_.notify_all();
    return {};
  }
  void handover_failed(Error error) override {
    const std::lock_guard lock(mutex_);
    ++calls;
    failed = std::move(error);
    changed_.notify_all();
  }

  /// The first call that reaches this point blocks until let_go(), or fails at once.
  void hold_at(Point point) { hold_ = point; }
  void fail_at(Point point) { fail_ = point; }
  /// As the engine does when it aborts its channels: what blocks here fails.
  void let_go() {
    const std::lock_guard lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }
  /// Waits until something holds.
  template <typename Ready>
  bool await(Ready ready, std::chrono::seconds limit = std::chrono::seconds(30)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return ready(*this); });
  }
  bool await_held() {
    return await([](const auto& o) { return o.held_; });
  }
  bool await_end() {
    return await([](const auto& o) { return o.ended || o.failed; });
  }

  std::vector<std::byte> take_bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

  std::uint64_t fits = ~std::uint64_t{0};  ///< bytes; set before the hand-over

  // Read when no call is under way any more.
  std::optional<Instant> stopping;
  std::optional<Instant> stopped_by_others;
  std::optional<Instant> stopped;
  std::optional<Instant> ended;
  std::optional<Error> failed;
  std::size_t before_stop = 0;  ///< bytes that came before the guest stopped
  unsigned calls = 0;

 private:
  Status wait_at(Point point, std::unique_lock<std::mutex>& lock) {
    if (fail_ == point) return fail(ErrorKind::kPeerLost, "the test cut the line");
    if (hold_ != point) return {};
    held_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return let_go_; });
    return fail(ErrorKind::kCancelled, "the test let go");
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::byte> bytes_;
  Point hold_ = Point::kNowhere;
  Point fail_ = Point::kNowhere;
  bool held_ = false;
  bool let_go_ = false;
};

}  // namespace godwit::testing
