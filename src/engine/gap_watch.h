// Notices that this process did not run: was stopped, or got no CPU for long.
#pragma once

#include "base/clock.h"

namespace godwit {

/// The sink beats once a second. A prepared sink that was not heard for longer may have given up, or this process was
/// stopped.
inline constexpr Duration kFreshness = std::chrono::milliseconds(2500);

/// One thread's, which looks far more often than every kFreshness while it runs.
class GapWatch {
 public:
  /// Forgets gaps that were before.
  void begin(Instant at) noexcept {
    looked_at_ = at;
    any_ = false;
  }
  void look(Instant at) noexcept {
    if (at - looked_at_ >= kFreshness) any_ = true;
    looked_at_ = at;
  }
  bool any() const noexcept { return any_; }

 private:
  Instant looked_at_{};
  bool any_ = false;
};

}  // namespace godwit
