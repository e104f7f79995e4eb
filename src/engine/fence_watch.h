// Whether the sink has applied all that was posted, and how fast the way there is: both told by fences.
//
// An empty board is not enough: megabytes may still lie in sockets, and would be waited for in the pause. So a fence
// follows whatever was posted, and the sink says when it has applied all before it. What lies in a proxy or a tunnel
// shows nowhere but in how long that answer takes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "engine/fence_rate.h"

namespace godwit {

/// A value without clock or I/O: the coordinator tells it what it sees.
class FenceWatch {
 public:
  /// Something was posted: it is applied when the answer to a later fence has come.
  void posted() noexcept { posted_since_ = true; }
  /// All that was posted is on its way: the fence that must follow it now, if one must.
  std::optional<std::uint32_t> due() noexcept {
    if (!posted_since_) return std::nullopt;
    posted_since_ = false;
    return ++asked_;
  }
  /// One more between those: it tells how far the sink is, and nothing of the way there, which is full of what was sent
  /// before it and goes on being sent behind it.
  std::uint32_t early() noexcept {
    sent_ = ++asked_;
    bytes_of_round_ = 0;
    return asked_;
  }
  std::uint32_t asked() const noexcept { return asked_; }
  /// `answered`: the latest that the sink has told of.
  bool is_answered(std::uint32_t answered) const noexcept { return answered >= asked_; }

  /// All lanes have sent the latest fence, and so many bytes up to now.
  void sent(Instant at, std::uint64_t bytes) noexcept {
    if (sent_ == asked_) return;
    sent_ = asked_;
    sent_at_ = at;
    bytes_of_round_ = bytes - bytes_until_fence_;
    bytes_until_fence_ = bytes;
  }
  /// The sink has answered `fence` at `at`; the round had begun at `began`. Whether that told something new.
  bool answered(std::uint32_t fence, Instant at, Instant began) noexcept {
    if (sent_ != asked_ || fence < asked_ || bytes_of_round_ == 0) return false;
    rate_.add(bytes_of_round_, std::max(Duration::zero(), at - sent_at_), at - began);
    bytes_of_round_ = 0;
    return true;
  }
  /// FenceRate's, of all lanes together.
  double bytes_per_ns() const noexcept { return rate_.bytes_per_ns(); }

 private:
  bool posted_since_ = true;
  std::uint32_t asked_ = 0;
  std::uint32_t sent_ = 0;
  Instant sent_at_{};
  std::uint64_t bytes_until_fence_ = 0;
  std::uint64_t bytes_of_round_ = 0;  ///< between that fence and the one before
  FenceRate rate_;
};

}  // namespace godwit
