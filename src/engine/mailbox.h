// A value that several threads change and one waits on.
#pragma once

#include <condition_variable>
#include <mutex>

#include "base/clock.h"

namespace godwit {

template <typename Value>
class Mailbox {
 public:
  /// change(value) under the lock; wakes the waiter.
  template <typename Change>
  void change(Change&& change) {
    {
      std::lock_guard lock(mutex_);
      change(value_);
    }
    changed_.notify_all();
  }

  /// Waits until ready(value) or the time is over; gives a copy of the value either way.
  template <typename Ready>
  Value await(Ready&& ready, Duration at_most) const {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, at_most, [&] { return ready(value_); });
    return value_;
  }

  Value look() const {
    std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Value value_{};
};

}  // namespace godwit
