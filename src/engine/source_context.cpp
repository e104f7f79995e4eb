#include "engine/source_context.h"

#include <fmt/format.h>

namespace godwit {

namespace {
// The coordinator looks at least so often, and shows progress then.
constexpr Duration kLookEvery = std::chrono::milliseconds(100);
// Beyond what the pause may take.
constexpr Duration kLoadPatience = std::chrono::seconds(60);
}  // namespace

void SourceContext::enter(Phase phase) {
  phase_ = phase;
  if (parts.steering != nullptr) parts.steering->entered(phase, now() - began);
  if (on_look) on_look();
}

void SourceContext::fail_with(Error failed) {
  if (error.report(failed)) parts.log.error("failure", {{"kind", name_of(failed.kind)}, {"reason", failed.message}});
  signals.change([](SourceSignals& s) { s.failed = true; });
}

void SourceContext::lose_link(Error lost) {
  if (!link.lost(lost)) return fail_with(std::move(lost));
  signals.change([](SourceSignals& s) { s.link_lost = true; });
}

Status SourceContext::no_error_yet() const {
  if (auto first = error.get()) return fail(*first);
  return {};
}

Status SourceContext::check_guest() {
  const auto halt = parts.vm.halted();
  if (!halt || move_as_paused(*halt)) return {};
  return fail(halt->kind == Halt::Kind::kEnded ? ErrorKind::kHypervisor : ErrorKind::kRefused, halt->what);
}

/// Nobody runs who would have to wait for a budget.
bool SourceContext::move_as_paused(const Halt& halt) {
  if (halt.kind != Halt::Kind::kPaused || !sink_keeps_paused || !parts.vm.move_as_paused()) return false;
  note(halt.what + ": what is left is sent at once, and the guest arrives paused");
  parts.log.warning("guest-paused", {{"reason", halt.what}});
  if (parts.lift_rate_limit) parts.lift_rate_limit();
  return true;
}

Status SourceContext::check_not_cancelled() const {
  if (!parts.cancelled.stop_requested()) return {};
  return fail(ErrorKind::kCancelled, "cancelled by the operator");
}

void SourceContext::note(std::string_view text) const {
  if (parts.on_note) parts.on_note(text);
}

void SourceContext::take_changes() {
  if (parts.steering == nullptr) return;
  parts.steering->looked_at(now() - began);
  auto changed = parts.steering->take();
  if (!changed) return;
  const bool other_rate = changed->bandwidth != parts.goals.bandwidth;
  changed->lanes = parts.goals.lanes;  // those that have come
  parts.goals = *std::move(changed);
  parts.log.info("goals", {{"max_downtime", parts.goals.max_downtime}, {"timeout", parts.goals.timeout}});
  if (other_rate && parts.change_rate_limit) parts.change_rate_limit(parts.goals.bandwidth);
  if (on_new_goals) on_new_goals();
}

bool SourceContext::begin(Steering::End end) {
  if (parts.steering != nullptr && !parts.steering->begin(end)) return false;
  if (link.bear_no_more()) return true;
  if (parts.steering != nullptr) parts.steering->open_again();
  return false;
}

Status SourceContext::until(bool (*ready)(const SourceSignals&), Duration at_most, std::string_view what) {
  const auto deadline = now() + at_most;
  while (true) {
    gaps.look(now());
    take_changes();
    const auto seen = signals.await([&](const SourceSignals& s) { return s.failed || ready(s); }, kLookEvery);
    TRY(no_error_yet());
    if (ready(seen)) return {};
    TRY(check_guest());
    if (now() >= deadline) return fail(ErrorKind::kTimedOut, fmt::format("timed out waiting for {}", what));
    if (on_look) on_look();
  }
}

Duration SourceContext::load_patience() const {
  return kLoadPatience + 2 * parts.goals.max_downtime;
}

}  // namespace godwit
