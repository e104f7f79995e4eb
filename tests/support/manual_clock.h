// A clock that is moved by hand.
#pragma once

#include <atomic>

#include "base/clock.h"

namespace godwit::testing {

class ManualClock final : public Clock {
 public:
  Instant now() const noexcept override { return Instant(Duration(now_.load())); }
  void advance(Duration by) noexcept { now_ += by.count(); }

 private:
  std::atomic<Instant::rep> now_{0};
};

}  // namespace godwit::testing
