// The first error wins and asks everybody to stop.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "base/result.h"

namespace godwit {

/// Shared by the threads of one migration. Any thread.
class FirstError {
 public:
  /// Keeps the error if it is the first, requests a stop, and gives true; later ones are consequences and are dropped.
  bool report(Error error) {
    {
      std::lock_guard lock(mutex_);
      if (error_) return false;
      error_ = std::move(error);
    }
    stop_.request_stop();
    return true;
  }
  std::optional<Error> get() const {
    std::lock_guard lock(mutex_);
    return error_;
  }
  std::stop_token token() const noexcept { return stop_.get_token(); }

 private:
  mutable std::mutex mutex_;
  std::optional<Error> error_;
  std::stop_source stop_;
};

}  // namespace godwit
