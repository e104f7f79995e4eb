#include "engine/commit_decision.h"

namespace godwit {

namespace {
// Since the sink was last heard of: it may have to try for a while until its hypervisor lets the guest run.
constexpr Duration kDonePatience = std::chrono::seconds(30);
constexpr Duration kLookAgain = std::chrono::milliseconds(200);

Error connection_is_gone() {
  return {ErrorKind::kPeerLost, "the connection is gone"};
}
}  // namespace

CommitOutcome CommitDecision::take() {
  if (Status may = check(); !may) return RollBack{std::move(may).error()};
  if (Status recorded = record(); !recorded) return RollBack{std::move(recorded).error()};
  return commit();
}

Status CommitDecision::check() const {
  if (auto* authority = context_.parts.authority) TRY_IN("the commit was not allowed", authority->may_commit());
  TRY(session_.hear());
  TRY(context_.check_guest());
  if (!paused_on_the_way() || context_.sink_keeps_paused) return {};
  return fail(ErrorKind::kRefused,
              "somebody has paused the guest, and the destination's godwit is too old to keep it paused");
}

bool CommitDecision::paused_on_the_way() const {
  return context_.parts.vm.moves_paused() && !context_.parts.vm.starts_paused();
}

/// One moment decides between a failure or the operator's cancelling and the commit.
Status CommitDecision::close_to_others() {
  auto* const steering = context_.parts.steering;
  if (steering != nullptr && !steering->commit()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
  bool failed = false;
  context_.signals.change([&](SourceSignals& s) {
    // A lane reports its error before it says that there is one.
    failed = s.failed || context_.error.get();
    s.committing = !failed;
  });
  if (failed) return fail(context_.error.get().value_or(connection_is_gone()));
  return {};
}

Status CommitDecision::record() {
  const auto begin = context_.now();
  TRY(close_to_others());
  auto& parts = context_.parts;
  if (!parts.vm.still_paused()) return fail(ErrorKind::kRefused, "somebody else let the guest run again at the source");
  // Before the journal: what fails here has committed nothing.
  const Deadline until = Deadline::in(kPeerDeadAfter, parts.clock);
  if (paused_on_the_way()) TRY(session_.control().send(wire::StayPaused{}, until));
  // The hypervisor's word of it may not have reached the relay yet.
  TRY(parts.vm.told_of_no_change());
  TRY_IN("the commit could not be journaled",
         context_.signals.look().early ? parts.journal.commit_early() : parts.journal.commit());
  ledger_.enter("journaled", begin, context_.now());
  return {};
}

/// From here on the source VM never runs again, unless the sink is certain that it never ran there and never will.
CommitOutcome CommitDecision::commit() {
  auto& parts = context_.parts;
  parts.on_milestone(Milestone::kCommitted);
  if (context_.signals.look().early) session_.bear_silence(kPostcopyPatience);
  const auto committed = context_.now();
  Status sent = session_.control().send(wire::Commit{}, Deadline::in(kPeerDeadAfter, parts.clock));
  context_.enter(Phase::kCommitted);
  if (sent) {
    const auto signals = await_done(committed);
    if (signals.done) {
      ledger_.enter("resumed", committed, signals.done_at);
      return Moved{parts.vm.moves_paused() ? Duration{} : signals.done_at - signals.pause_began()};
    }
    if (signals.never_ran) return take_back();
    sent = signals.failed ? Status(fail(context_.error.get().value_or(connection_is_gone())))
                          : Status(fail(ErrorKind::kTimedOut, "the destination did not answer"));
  }
  return InDoubt{std::move(sent).error().in("committed, but not confirmed by the destination")};
}

/// Where memory follows the guest, a lane that breaks says nothing about what becomes of it: the sink does.
SourceSignals CommitDecision::await_done(Instant committed) {
  bool told = false;
  const bool early = context_.signals.look().early;
  const auto is_over = [early](const SourceSignals& s) { return s.done || (s.failed && (!early || s.closed)); };
  while (true) {
    if (!told && !context_.parts.vm.can_take_back()) {
      told = true;
      // It cannot undo the commit. It tells a sink that has trouble that what it holds is the only copy.
      (void)session_.control().send(
          wire::Abort{std::string(name_of(ErrorKind::kHypervisor)), "the source's QEMU has ended"});
    }
    const auto signals = context_.signals.await(is_over, kLookAgain);
    if (is_over(signals)) return signals;
    if (context_.now() - std::max(committed, signals.heard_at) >= kDonePatience) return signals;
  }
}

/// On record first: whoever finds this guest from here on may let it run.
RollBack CommitDecision::take_back() {
  const Status taken_back = context_.parts.journal.take_back();
  Error error = *context_.error.get();
  if (!taken_back) error.message += "; the journal could not be written: " + taken_back.error().message;
  return {std::move(error)};
}

}  // namespace godwit
