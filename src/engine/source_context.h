// What all steps of one migration at its source share: the parts that it was given, the first error, the signals of
// other threads, and how far it has come.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "engine/first_error.h"
#include "engine/link_watch.h"
#include "engine/source.h"
#include "engine/source_signals.h"

namespace godwit {

/// The sink beats once a second. A prepared sink that was not heard for longer may have given up, or this process was
/// stopped.
inline constexpr Duration kFreshness = std::chrono::milliseconds(2500);

/// Notices that this process did not run: was stopped, or got no CPU for long. One thread's, which looks far more often
/// than every kFreshness while it runs.
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

/// Outlives all steps. Methods are the coordinator's, except for now() and fail_with().
class SourceContext {
 public:
  explicit SourceContext(SourceParts given) : parts(std::move(given)), began(parts.clock.now()) {}

  SourceParts parts;
  const Instant began;
  FirstError error;
  Mailbox<SourceSignals> signals;
  LinkWatch link;
  Duration link_patience{};             ///< agreed with the sink; zero: no outage is borne
  bool hypervisor_busy = false;         ///< it has begun what it may be silent in for seconds, while memory is copied
  std::optional<Instant> link_lost_at;  ///< when the sink was last heard, while the link is lost
  GapWatch gaps;                        ///< of the coordinator, since the last fence was asked for
  std::function<void()> on_look;        ///< called whenever the coordinator looks around; shows progress
  std::function<void()> on_new_goals;   ///< called when parts.goals have changed
  bool sink_keeps_paused = false;       ///< also a guest that is paused on the way

  Instant now() const noexcept { return parts.clock.now(); }
  Phase phase() const noexcept { return phase_; }
  void enter(Phase phase);
  /// Any thread: the first error is the cause of the end; the coordinator is woken.
  void fail_with(Error failed);
  /// Any thread: a connection has failed. As fail_with(), unless that is borne now.
  void lose_link(Error lost);
  /// The error with which some thread has failed, or none.
  Status no_error_yet() const;
  /// A guest may shut down or crash at any time: then it is not moved any further. One that somebody else pauses before
  /// its hand-over is moved as it is, if both sides can.
  Status check_guest();
  Status check_not_cancelled() const;
  void note(std::string_view text) const;
  /// What the operator has changed meanwhile becomes parts.goals.
  void take_changes();
  /// No lost link is borne any more, and nothing that would change this end is taken from the operator. False:
  /// something has been lost or asked for that comes first.
  bool begin(Steering::End end);
  /// Waits until other threads have told that it is `ready`, and looks after the guest meanwhile. `what` goes into
  /// "timed out waiting for ...".
  Status until(bool (*ready)(const SourceSignals&), Duration at_most, std::string_view what);
  /// How long the sink may take to load what it has got, beyond which something is wrong.
  Duration load_patience() const;

 private:
  bool move_as_paused(const Halt& halt);
  Phase phase_ = Phase::kConnecting;
};

}  // namespace godwit
