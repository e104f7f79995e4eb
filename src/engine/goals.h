// What the operator asked for.
#pragma once

#include <optional>

#include "base/clock.h"
#include "base/units.h"
#include "codec/codec.h"

namespace godwit {

inline constexpr unsigned kMostEncodingThreads = 256;

/// What is done at the deadline with a move that has not come to its end.
enum class OnDeadline {
  kCancel,    ///< the guest stays at the source
  kPause,     ///< the guest is paused until the rest has been sent
  kPostcopy,  ///< the guest runs at the destination, and the rest follows; before the deadline if waiting for it
              ///< would be of no use
};

/// What the operator has ordered while it was under way.
enum class Order {
  kNone,
  kSwitchOver,  ///< the guest is paused until the rest has been sent, however long that takes
  kPostcopy,    ///< the guest runs at the destination, and the rest follows
};

struct Goals {
  unsigned lanes = 2;                        ///< connections, and threads that copy and send; they encode, too
  unsigned most_lanes = 0;                   ///< that it may come to meanwhile; not more than `lanes`: these stay
  std::optional<unsigned> encoding_threads;  ///< beside the lanes, at most; none: by the idle CPUs
  std::optional<CodecChoice> codec;          ///< none: chosen block by block
  Duration max_downtime = std::chrono::milliseconds(50);
  Duration timeout = std::chrono::hours(1);
  std::optional<Duration> deadline;  ///< of the whole move; none: only `timeout` bounds it
  OnDeadline on_deadline = OnDeadline::kCancel;
  double guest_slowdown = 0;  ///< how much of its CPU time the guest may be denied so that the move ends, 0 to 0.99
  /// The move is not to last longer, or it will be cancelled.
  Duration bound() const noexcept { return deadline_is_bound() ? *deadline : timeout; }
  bool deadline_is_bound() const noexcept {
    return deadline && on_deadline == OnDeadline::kCancel && *deadline < timeout;
  }
  bool may_postcopy() const noexcept { return on_deadline == OnDeadline::kPostcopy; }
  bool may_be_ordered = false;  ///< what it takes for post-copy is made ready, if the destination agrees
  Order order = Order::kNone;
  Duration link_patience{};  ///< so long an outage of the link is borne while memory is copied; zero: none is
  std::optional<BitRate> bandwidth;
  std::optional<std::uint64_t> delta_memory;  ///< bytes for all lanes; none: by the size of RAM; 0: no deltas
};

}  // namespace godwit
