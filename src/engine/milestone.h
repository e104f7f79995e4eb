// Milestones: named points of a migration, told to whoever wires the engine (tests set failpoints on them).
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string_view>

namespace godwit {

/// Source: attached connected welcomed tracking mapped copying handing-over stopped fenced devices-sent prepared
///         committed runs-early done
/// Sink:   attached listening greeted welcomed mapped taken-ahead last-fence loaded prepared committed resumed
enum class Milestone {
  kAttached,
  kListening,
  kConnected,
  kGreeted,
  kWelcomed,
  kTracking,
  kMapped,
  kCopying,
  kTakenAhead,  ///< for a post-copy: what is known to be missing, while the guest runs at the source
  kHandingOver,
  kStopped,
  kFenced,
  kLastFencePassed,
  kDevicesSent,
  kLoaded,
  kPrepared,
  kCommitted,
  kResumed,
  kRunsEarly,  ///< of a post-copy: the guest runs at the sink, and the rest follows
  kDone,
};

/// Of both sides, in about the order in which a migration reaches them.
std::span<const Milestone> all_milestones() noexcept;
std::string_view name_of(Milestone milestone) noexcept;  ///< "attached", "handing-over", ...
std::optional<Milestone> milestone_from(std::string_view name) noexcept;

/// Called from the coordinator's thread, or from the sink's loader; must not block for long.
using OnMilestone = std::function<void(Milestone milestone)>;

}  // namespace godwit
