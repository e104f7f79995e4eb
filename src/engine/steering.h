// What an operator wants of a move that is under way: goals that change, and orders.
//
//   control connection, any thread --change(), order()--> Steering --take()--> the coordinator, at its next look
//                     <--refused, in a sentence--            ^
//                                                            +--entered(), postcopy_is()-- the coordinator
//
// Whoever asks is answered at once, and waits for nothing that the move does.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "engine/goals.h"
#include "engine/progress.h"

namespace godwit {

/// Those that are set change.
struct GoalChange {
  std::optional<Duration> max_downtime;
  std::optional<Duration> timeout;
  std::optional<std::optional<Duration>> deadline;
  std::optional<OnDeadline> on_deadline;
  std::optional<double> guest_slowdown;
  std::optional<std::optional<BitRate>> bandwidth;
};

class Steering {
 public:
  explicit Steering(Goals goals) : goals_(std::move(goals)) {}

  /// Any thread. kRefused or kInvalidArgument: nothing has changed, and the move goes on.
  Status change(const GoalChange& change);
  Status order(Order order);
  /// Whether a move can still be cancelled; refused in a sentence where it cannot.
  Status may_cancel() const;
  /// As they are now.
  Goals goals() const;

  /// The coordinator's.
  void entered(Phase phase, Duration elapsed);
  void looked_at(Duration elapsed);
  /// After Welcome: why the guest cannot run at the sink before all of it is there; empty: it can.
  void postcopy_is(std::string why_not);
  /// What has changed since the last take(), all goals.
  std::optional<Goals> take();

 private:
  Status check_phase(bool bandwidth_only) const;
  Status check_postcopy() const;

  mutable std::mutex mutex_;
  Goals goals_;
  bool changed_ = false;
  Phase phase_ = Phase::kConnecting;
  Duration elapsed_{};
  std::string why_not_postcopy_ = "the destination has not been asked yet";
};

}  // namespace godwit
