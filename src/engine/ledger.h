// The ledger: what happened between the stop of the guest and its resumption, in microseconds from the stop.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/report.h"

namespace godwit {

/// Coordinator's thread only.
class Ledger {
 public:
  void start(Instant pause_began) noexcept { zero_ = pause_began; }
  Instant zero() const noexcept { return zero_; }
  void enter(std::string name, Instant begin, Instant end) {
    entries_.push_back({std::move(name), microseconds(begin), microseconds(end)});
  }
  const std::vector<LedgerEntry>& entries() const noexcept { return entries_; }

 private:
  std::int64_t microseconds(Instant at) const noexcept {
    return std::chrono::duration_cast<std::chrono::microseconds>(at - zero_).count();
  }
  Instant zero_{};
  std::vector<LedgerEntry> entries_;
};

}  // namespace godwit
