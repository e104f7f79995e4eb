#include "engine/steering.h"

#include <fmt/format.h>

namespace godwit {

namespace {

tl::unexpected<Error> refuse_steering(std::string why) {
  return fail(ErrorKind::kRefused, std::move(why));
}

constexpr std::string_view kSwitchoverHasBegun = "the switchover has begun already";
constexpr std::string_view kCommittedAlready = "the move has been committed already";

/// What is too late in this phase, as a sentence; empty: nothing is.
std::string too_late_in(Phase phase) {
  switch (phase) {
    case Phase::kHandingOver:
    case Phase::kPaused:
      return std::string(kSwitchoverHasBegun);
    case Phase::kPostcopy:
      return "the guest runs at the destination already, and the rest of its memory follows";
    case Phase::kCommitted:
    case Phase::kDone:
      return std::string(kCommittedAlready);
    case Phase::kRollingBack:
      return "the move has failed already, and is being rolled back";
    case Phase::kConnecting:
    case Phase::kTracking:
    case Phase::kCopying:
      break;
  }
  return {};
}

Goals changed_goals(Goals goals, const GoalChange& change) {
  goals.max_downtime = change.max_downtime.value_or(goals.max_downtime);
  goals.timeout = change.timeout.value_or(goals.timeout);
  goals.deadline = change.deadline.value_or(goals.deadline);
  goals.on_deadline = change.on_deadline.value_or(goals.on_deadline);
  goals.guest_slowdown = change.guest_slowdown.value_or(goals.guest_slowdown);
  goals.bandwidth = change.bandwidth.value_or(goals.bandwidth);
  return goals;
}

/// A time of the whole move that lies behind would end it now, and that has a word of its own.
Status check_is_ahead(std::string_view name, std::optional<Duration> time, Duration elapsed) {
  if (!time || *time > elapsed) return {};
  return refuse_steering(
      fmt::format("{} {}: counts from the beginning, and {} have passed already; write more, or `cancel`", name,
                  format_duration(*time), format_duration(elapsed)));
}

}  // namespace

std::string Steering::too_late() const {
  std::string late = too_late_in(phase_);
  if (!late.empty()) return late;
  switch (end_) {
    case End::kPostcopy:
      return "the guest is about to run at the destination, before all of its memory is there";
    case End::kSwitchover:
      return std::string(kSwitchoverHasBegun);
    case End::kOpen:
      break;
  }
  return {};
}

Status Steering::check_phase(const GoalChange& change) const {
  const std::string late = too_late();
  if (late.empty()) return {};
  const bool others = change.max_downtime || change.deadline || change.on_deadline || change.guest_slowdown;
  // What follows a guest that runs there keeps to it again.
  if (phase_ == Phase::kPostcopy && !others && !change.timeout) return {};
  const bool waits = phase_ == Phase::kCopying && end_ == End::kPostcopy;
  if (waits && !others) return {};
  return refuse_steering(
      late + (waits ? ": only timeout and bandwidth can be changed any more" : ": nothing can be changed any more"));
}

Status Steering::check_postcopy() const {
  if (why_not_postcopy_.empty()) return {};
  return refuse_steering("the guest cannot run at the destination before all of it is there: " + why_not_postcopy_);
}

Status Steering::change(const GoalChange& change) {
  const std::lock_guard lock(mutex_);
  TRY(check_phase(change));
  Goals wanted = changed_goals(goals_, change);
  if (change.timeout) TRY(check_is_ahead("timeout", wanted.timeout, elapsed_));
  if (change.deadline) TRY(check_is_ahead("deadline", wanted.deadline, elapsed_));
  if (wanted.deadline && *wanted.deadline > wanted.timeout) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("deadline {} is after timeout {}, which gives the move up before",
                            format_duration(*wanted.deadline), format_duration(wanted.timeout)));
  }
  if (change.on_deadline) {
    if (wanted.may_postcopy()) {
      TRY(check_postcopy());
    } else if (!wanted.deadline) {
      return fail(ErrorKind::kInvalidArgument, "on-deadline: say when first, with `set deadline`");
    }
  }
  goals_ = std::move(wanted);
  changed_ = true;
  return {};
}

Status Steering::order(Order order) {
  const std::lock_guard lock(mutex_);
  if (const std::string late = too_late(); !late.empty()) return refuse_steering(late);
  if (phase_ != Phase::kCopying) {
    return refuse_steering("memory is not being copied yet: say it again in a moment");
  }
  if (order == Order::kPostcopy) TRY(check_postcopy());
  if (goals_.order != Order::kNone) return refuse_steering("it has been ordered already");
  goals_.order = order;
  changed_ = true;
  return {};
}

Status Steering::cancel() {
  const std::lock_guard lock(mutex_);
  const bool pauses = phase_ == Phase::kHandingOver || phase_ == Phase::kPaused;
  if (const std::string late = too_late_in(phase_); !pauses && !late.empty()) return refuse_steering(late);
  if (commits_) return refuse_steering(std::string(kCommittedAlready));
  cancelled_ = true;
  return {};
}

Goals Steering::goals() const {
  const std::lock_guard lock(mutex_);
  return goals_;
}

void Steering::entered(Phase phase, Duration elapsed) {
  const std::lock_guard lock(mutex_);
  phase_ = phase;
  elapsed_ = elapsed;
}

void Steering::looked_at(Duration elapsed) {
  const std::lock_guard lock(mutex_);
  elapsed_ = elapsed;
}

void Steering::postcopy_is(std::string why_not) {
  const std::lock_guard lock(mutex_);
  why_not_postcopy_ = std::move(why_not);
}

bool Steering::begin(End end) {
  const std::lock_guard lock(mutex_);
  if (changed_) return false;
  end_ = end;
  return true;
}

void Steering::open_again() {
  const std::lock_guard lock(mutex_);
  end_ = End::kOpen;
}

bool Steering::commit() {
  const std::lock_guard lock(mutex_);
  commits_ = !cancelled_;
  return commits_;
}

std::optional<Goals> Steering::take() {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(changed_, false)) return std::nullopt;
  return goals_;
}

}  // namespace godwit
