#include "engine/fence_rate.h"

#include <algorithm>
#include <chrono>

namespace godwit {

namespace {

// What a busy machine takes now and then to wake whoever answers.
constexpr Duration kWorthTelling = std::chrono::milliseconds(40);
// Rounds that differ by less tell more about that than about the way.
constexpr std::uint64_t kWorthComparing = 512 * 1024;
// Some 2 Gbit/s. A receiver that is kept busy may look like a way that is faster than this; and a queue of so fast a
// way is soon empty.
constexpr double kFast = 0.25;

}  // namespace

void FenceRate::add(std::uint64_t bytes, Duration took, Duration round) noexcept {
  const bool quickest = !any_ || took <= quickest_;
  if (any_) {
    const std::uint64_t more = quickest ? quickest_bytes_ : bytes;
    const std::uint64_t less = quickest ? bytes : quickest_bytes_;
    const Duration longer = quickest ? quickest_ - took : took - quickest_;
    if (less >= more + kWorthComparing) {
      rate_ = 0;  // much has been answered more quickly than little
    } else if (more >= less + kWorthComparing) {
      const double rate = static_cast<double>(more - less) / std::max(1.0, static_cast<double>(longer.count()));
      rate_ = longer >= kWorthTelling && rate < kFast ? rate : 0;
    }
  }
  // All of it has come by that way in this time; if that is more than the way takes, the way has changed.
  if (static_cast<double>(bytes) > rate_ * std::max(1.0, static_cast<double>(round.count()))) rate_ = 0;
  if (!quickest) return;
  any_ = true;
  quickest_ = took;
  quickest_bytes_ = bytes;
}

}  // namespace godwit
