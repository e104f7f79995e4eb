// What an operator wants of a move that is under way: goals that change, and orders.
//
//   control connection, any thread --change(), order()--> Steering --take()--> the coordinator, at its next look
//                     <--refused, in a sentence--            ^
//                                                            +--entered(), begin(), commit()-- the coordinator
//
// Whoever asks is answered at once, and waits for nothing that the move does. What is not refused is obeyed: before the
// coordinator begins with what nobody can change any more it has begin() or commit() say so, which fail where something
// has been asked for that it has not looked at yet.
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
  /// What the move comes to.
  enum class End {
    kOpen,        ///< it is copied, and not decided
    kPostcopy,    ///< nothing more is copied before the guest runs at the sink; it still runs at the source
    kSwitchover,  ///< the guest is being paused
  };

  explicit Steering(Goals goals) : goals_(std::move(goals)) {}

  /// Any thread. kRefused or kInvalidArgument: nothing has changed, and the move goes on.
  Status change(const GoalChange& change);
  Status order(Order order);
  /// Refused where it is too late. Else the move ends, and is to be cancelled by whoever asks.
  Status cancel();
  /// As they are now.
  Goals goals() const;

  /// The coordinator's.
  void entered(Phase phase, Duration elapsed);
  void looked_at(Duration elapsed);
  /// After Welcome: why the guest cannot run at the sink before all of it is there; empty: it can.
  void postcopy_is(std::string why_not);
  /// What has changed since the last take(), all goals.
  std::optional<Goals> take();
  /// From here on what would change that end is refused. False: there is something to take() first.
  bool begin(End end);
  /// It has not begun after all.
  void open_again();
  /// From here on cancel() is refused. False: it has been cancelled.
  bool commit();

 private:
  std::string too_late() const;
  Status check_phase(const GoalChange& change) const;
  Status check_postcopy() const;

  mutable std::mutex mutex_;
  Goals goals_;
  bool changed_ = false;
  Phase phase_ = Phase::kConnecting;
  End end_ = End::kOpen;
  bool cancelled_ = false;
  bool commits_ = false;
  Duration elapsed_{};
  std::string why_not_postcopy_ = "the destination has not been asked yet";
};

}  // namespace godwit
