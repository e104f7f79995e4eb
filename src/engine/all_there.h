// When a guest that runs already has all of its memory: its last page is in place, and all lanes have passed their last
// fence. Whichever comes second confirms it, once.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

namespace godwit {

/// Any thread.
class AllThere {
 public:
  explicit AllThere(std::function<void()> confirm) : confirm_(std::move(confirm)) {}

  void last_fence_passed() {
    set(fence_passed_);
    confirm_if_both();
  }
  void last_page_placed() {
    nothing_missing();
    confirm_if_both();
  }
  /// The same, while no lane can have passed its last fence.
  void nothing_missing() { set(page_placed_); }
  /// Both: what breaks from here on is of no importance.
  bool confirming() const noexcept { return confirming_; }
  /// The same, and `confirm` has returned, which is waited for: a source that has been told hangs up before that.
  bool confirmed() const noexcept {
    if (confirming_) confirmed_.wait(false);
    return confirmed_;
  }

 private:
  void set(bool& what) {
    const std::lock_guard lock(mutex_);
    what = true;
  }
  void confirm_if_both() {
    {
      const std::lock_guard lock(mutex_);
      if (!fence_passed_ || !page_placed_ || confirming_) return;
      confirming_ = true;
    }
    confirm_();
    confirmed_ = true;
    confirmed_.notify_all();
  }

  std::function<void()> confirm_;
  std::mutex mutex_;
  bool fence_passed_ = false;
  bool page_placed_ = false;
  std::atomic<bool> confirming_{false};
  std::atomic<bool> confirmed_{false};
};

}  // namespace godwit
