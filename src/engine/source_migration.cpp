#include "engine/source_migration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/cpu_account.h"
#include "base/units.h"
#include "engine/lost_packets.h"

namespace godwit {

namespace {

// How often the coordinator looks around while lanes work.
constexpr Duration kTick = std::chrono::milliseconds(5);
// A guest that is paused because its hypervisor waits for a disk is not kept so for a move.
constexpr Duration kDiskPatience = std::chrono::seconds(5);
// From the end of a process's memory to that of its connections.
constexpr Duration kEndPatience = std::chrono::seconds(5);
// It looks at all of its memory for that, some GiB a second.
constexpr Duration kMissingPatience = std::chrono::minutes(10);
constexpr Duration kPauseAgainEvery = std::chrono::milliseconds(100);
constexpr Duration kRemindEvery = std::chrono::seconds(5);

Outcome outcome_of(const Halt& halt) {
  return halt.kind == Halt::Kind::kEnded ? Outcome::kGuestEnded : Outcome::kGuestPaused;
}

/// What a lane, the tracker or the hand-over says of a guest that has ended is only how that was noticed.
Error caused_by(const Halt& halt, Error error) {
  const bool cause_of_its_own = error.kind == ErrorKind::kCancelled || error.kind == ErrorKind::kTimedOut;
  if (!cause_of_its_own || error.message.starts_with(halt.what)) return Error{error.kind, halt.what};
  return Error{error.kind, fmt::format("{}; before that: {}", halt.what, error.message)};
}

}  // namespace

Report run_source(SourceParts parts) {
  return SourceMigration(std::move(parts)).run();
}

SourceMigration::SourceMigration(SourceParts parts)
    : context_(std::move(parts)),
      session_(context_),
      ram_(std::in_place, context_, session_),
      loads_{&*ram_},
      outage_(context_, session_),
      lane_change_(context_, session_),
      progress_(context_, session_, *ram_) {
  loads_.insert(loads_.end(), context_.parts.other_loads.begin(), context_.parts.other_loads.end());
  context_.on_look = [this] { progress_.show(); };
  context_.on_new_goals = [this] {
    ram_->follow_goals();
    progress_.use(context_.parts.goals);
  };
}

Report SourceMigration::run() {
  const std::stop_callback on_cancel(context_.parts.cancelled, [this] { cancel(); });
  if (context_.parts.resumes) return resume();
  if (Status prepared = up_to_prepared(); !prepared) return roll_back(std::move(prepared).error());
  return commit();
}

/// From any thread. Too late once the commit is under way.
void SourceMigration::cancel() {
  bool in_time = false;
  context_.signals.change([&](SourceSignals& s) {
    in_time = !s.committing;
    if (!in_time) return;
    context_.error.report(Error{ErrorKind::kCancelled, "cancelled by the operator"});
    s.failed = true;
  });
  if (!in_time) return;
  context_.parts.vm.interrupt();
  // Before Welcome nobody else could wake the coordinator.
  session_.cancel();
}

Status SourceMigration::up_to_prepared() {
  TRY(connect());
  TRY(start_loads());
  TRY(copy_until_stopped());
  TRY(switchover_->freeze(loads_));
  return switchover_->await_prepared();
}

Status SourceMigration::connect() {
  context_.enter(Phase::kConnecting);
  auto lanes = TRY(session_.open());
  TRY(settle_device_way());
  ram_->use(std::move(lanes), session_.take_urgent());
  if (context_.parts.resumes) return {};
  switchover_.emplace(context_, session_);
  return switchover_->open();
}

/// How much memory the lanes move depends on it.
Status SourceMigration::settle_device_way() {
  auto& vm = context_.parts.vm;
  if (vm.way() == DeviceWay::kDirect && !session_.takes_direct()) {
    TRY(vm.use(DeviceWay::kStream, fmt::format("at the destination {}", session_.why_stream())));
    ram_.emplace(context_, session_);
  }
  context_.parts.log.info("devices", {{"way", name_of(vm.way())}, {"reason", vm.why_stream()}});
  return {};
}

Status SourceMigration::start_loads() {
  context_.enter(Phase::kTracking);
  for (Load* load : loads_) TRY(load->start());
  return {};
}

Status SourceMigration::copy_until_stopped() {
  context_.enter(Phase::kCopying);
  outage_.bear();
  context_.parts.on_milestone(Milestone::kCopying);
  unsigned taken_ahead = 0;
  while (true) {
    const auto signals = context_.signals.await(
        [&](const SourceSignals& s) { return s.failed || s.stopped || s.link_lost || s.taken_ahead != taken_ahead; },
        kTick);
    taken_ahead = signals.taken_ahead;
    TRY(context_.no_error_yet());
    if (context_.link.look()) {
      lane_change_.interrupt();
      TRY(outage_.ride_out(*ram_));
      continue;
    }
    if (signals.stopped) return {};
    context_.take_changes();
    TRY(context_.check_guest());
    if (signals.stopping) {
      // Nothing is begun now that the stop would have to wait for.
      if (context_.phase() != Phase::kPaused) context_.enter(Phase::kPaused);
      TRY(check_disks());
    } else {
      TRY(copy_on());
    }
    progress_.show_at_times();
  }
}

Status SourceMigration::copy_on() {
  TRY(lane_change_.look(*ram_));
  for (Load* load : loads_) TRY(load->step());
  if (switchover_->ordered()) return {};
  TRY(switchover_->prepare_in_time(loads_));
  const bool ready = TRY(ready_to_stop());
  // What was lost or asked for up to now comes first.
  if (!ready || !context_.begin(Steering::End::kSwitchover)) return {};
  return switchover_->order_stop(loads_);
}

Result<bool> SourceMigration::ready_to_stop() {
  if (!std::ranges::all_of(loads_, &Load::converged)) return false;
  for (Load* load : loads_) {
    const bool ready = TRY(load->ready());
    if (!ready) return false;
  }
  return true;
}

/// The guest is paused, and the hypervisor waits for disk requests to end.
Status SourceMigration::check_disks() const {
  // The time first: whoever gets no turn on a CPU in between must not count the time since against an old signal.
  const auto at = now();
  const auto stopping = context_.signals.look().stopping;
  if (!stopping) return {};
  const auto since = at - *stopping;
  if (since < std::max(kDiskPatience, context_.parts.goals.max_downtime)) return {};
  return fail(
      ErrorKind::kTimedOut,
      fmt::format("QEMU has waited {} for its disks to finish their requests, with the guest paused: the move "
                  "was given up, and the guest runs on as soon as they have, unless somebody else has paused it",
                  format_duration(since)));
}

Report SourceMigration::commit() {
  auto outcome = CommitDecision(context_, session_, switchover_->ledger()).take();
  if (const auto* done = std::get_if<Moved>(&outcome)) {
    if (Status followed = ram_->is_early() ? follow() : Status{}; !followed) {
      return incomplete(done->pause, std::move(followed).error());
    }
    if (ram_->is_early()) (void)context_.parts.journal.commit();  // it only lets this QEMU be ended
    return moved(done->pause);
  }
  if (auto* back = std::get_if<RollBack>(&outcome)) return roll_back(std::move(back->error));
  // Its threads speak to what ends with this object.
  (void)context_.parts.vm.finish();
  return report(Outcome::kInDoubt, std::get<InDoubt>(std::move(outcome)).error);
}

/// Whatever fails, the guest does not come back: another resumption may follow.
Report SourceMigration::resume() {
  Status followed = up_to_taken_up();
  if (followed) followed = follow();
  if (!followed) {
    Error error = explain(std::move(followed).error());
    session_.say_goodbye(std::string(name_of(error.kind)), error);
    ram_->cancel();
    return incomplete({}, std::move(error));
  }
  (void)context_.parts.journal.commit();  // it only lets this QEMU be ended
  return moved({});
}

Status SourceMigration::up_to_taken_up() {
  TRY(connect());
  TRY(context_.until([](const SourceSignals& s) { return s.map_told; }, kMissingPatience,
                     "the destination to tell what it lacks"));
  ram_->take_up(TRY(session_.take_missing(context_.parts.vm.memory().layout())));
  return {};
}

/// The guest runs at the sink: what it lacks follows. Nothing but this side has it.
Status SourceMigration::follow() {
  context_.enter(Phase::kPostcopy);
  context_.parts.on_milestone(Milestone::kRunsEarly);
  // Lanes that kept to a bound have not shown what the link carries.
  const bool bounded = context_.parts.goals.bandwidth.has_value();
  ram_->postcopy().go_on(bounded ? 0 : ram_->sample().wire_bytes_per_second);
  while (true) {
    const bool there = TRY(ram_->postcopy().all_there());
    if (there) return {};
    keep_paused();
    context_.take_changes();
    context_.signals.await([](const SourceSignals& s) { return s.failed || s.last_fence; }, kTick);
    progress_.show_at_times();
  }
}

/// It runs at the sink: somebody's `cont` here would have it run twice, and write to memory that is still to follow.
void SourceMigration::keep_paused() {
  auto& vm = context_.parts.vm;
  // Once somebody has let it run nobody tells whether he does so again: to pause a paused guest changes nothing.
  if (vm.still_paused() || (paused_again_at_ && now() - *paused_again_at_ < kPauseAgainEvery)) return;
  const bool told = paused_again_at_.has_value();
  paused_again_at_ = now();
  const Status paused = vm.pause();
  if (told) return;
  context_.note(fmt::format(
      "somebody let the guest run at the source, although it runs at the destination: {}. What it "
      "has written since, to its disks, too, may have damaged it",
      paused ? "it has been paused again"
             : "it could not be paused (" + paused.error().message + "): type `stop` in the monitor of the QEMU here"));
}

/// Neither side may end its hypervisor: the guest waits for what is missing.
Report SourceMigration::incomplete(Duration pause, Error error) {
  error.message = fmt::format(
      "the guest runs at the destination and waits for memory that is only here: do not end QEMU on either "
      "host ({})",
      error.message);
  (void)context_.parts.vm.finish();
  Report report = this->report(Outcome::kIncomplete, std::move(error));
  report.pause = pause;
  return report;
}

Report SourceMigration::moved(Duration pause) {
  context_.parts.on_milestone(Milestone::kDone);
  context_.enter(Phase::kDone);
  Report report = this->report(Outcome::kDone, std::nullopt);
  report.pause = pause;
  if (context_.parts.on_moved) context_.parts.on_moved(report);
  (void)context_.parts.vm.finish();
  for (Load* load : loads_) load->finish();
  return report;
}

Report SourceMigration::roll_back(Error error) {
  await_its_end(context_.error.get().value_or(error));
  error = explain(std::move(error));
  context_.parts.log.warning("roll-back", {{"kind", name_of(error.kind)}, {"reason", error.message}});
  context_.enter(Phase::kRollingBack);
  say_goodbye(error);
  const Status rolled_back = let_guest_go_on();
  for (Load* load : loads_) load->finish();
  // The guest runs: there is time now to let the sink read why, before the connection is cut.
  session_.close();
  outage_.say_goodbye(kind_of_end(error), error);
  const auto halt = context_.parts.vm.halted();
  // Of a guest that is only paused, the record stays where it is not certain that it was left as it should be.
  if (halt && (rolled_back || halt->kind == Halt::Kind::kEnded)) {
    context_.parts.journal.clear();
    return report(outcome_of(*halt), caused_by(*halt, std::move(error)));
  }
  if (!rolled_back) {
    error.message += "; and the source VM could not be let run again: " + rolled_back.error().message;
    return report(Outcome::kSourceStopped, std::move(error));
  }
  context_.parts.journal.clear();
  return report(Outcome::kSourceRuns, std::move(error));
}

/// The kernel says that the hypervisor's memory is gone before its monitor's connection tells of its end, and both
/// sides are to say the same of it.
void SourceMigration::await_its_end(const Error& error) const {
  if (error.os_error != ESRCH) return;
  const auto deadline = context_.now() + kEndPatience;
  while (!context_.parts.vm.halted() && context_.now() < deadline) {
    context_.signals.await([](const SourceSignals&) { return false; }, kTick);
  }
}

/// The first error is the cause; the one that a step came back with may be its consequence.
Error SourceMigration::explain(Error error) const {
  if (auto first = context_.error.get()) error = *first;
  // Large messages go by the lanes, heartbeats by the control connection: the link is up.
  if (ram_->never_got_through() && session_.is_fresh()) error.message += fmt::format("; {}", kMtuHint);
  if (const auto halt = context_.parts.vm.halted()) error = caused_by(*halt, std::move(error));
  return error;
}

/// As Abort's.
std::string SourceMigration::kind_of_end(const Error& error) const {
  const auto halt = context_.parts.vm.halted();
  return std::string(halt ? name_of(outcome_of(*halt)) : name_of(error.kind));
}

void SourceMigration::say_goodbye(const Error& error) {
  if (context_.parts.lift_rate_limit) context_.parts.lift_rate_limit();
  session_.say_goodbye(kind_of_end(error), error);
  for (Load* load : loads_) load->cancel();
}

/// A hypervisor that waits for its disks does not answer before they return, and that is waited for: somebody may be
/// able to do something about them.
Status SourceMigration::let_guest_go_on() {
  Mailbox<bool> over;
  const std::jthread reminder = job_thread([&] {
    while (!over.await([](bool o) { return o; }, kRemindEvery)) {
      context_.note(
          "QEMU does not answer: as a rule it waits for its disks, or is stopped itself. The guest at the source runs "
          "on as soon as it answers.");
    }
  });
  const Status rolled_back = context_.parts.vm.roll_back();
  over.change([](bool& o) { o = true; });
  return rolled_back;
}

Report SourceMigration::report(Outcome outcome, std::optional<Error> error) const {
  const auto& parts = context_.parts;
  Report r;
  r.outcome = outcome;
  r.error = std::move(error);
  r.vm_name = parts.vm.fingerprint().vm_name;
  r.source_version = parts.vm.fingerprint().version;
  r.sink_version = session_.sink_version();
  r.security = session_.security();
  r.total = now() - context_.began;
  r.max_downtime = parts.goals.max_downtime;
  r.paused = parts.vm.moves_paused();
  r.devices = name_of(parts.vm.way());
  r.why_stream = parts.vm.why_stream();
  ram_->account(r);
  outage_.account(r);
  if (switchover_) switchover_->account(r);
  r.bytes_control = session_.bytes_sent();
  r.source_cpu = job_cpu_time();
  r.source_peak_memory = session_.peak_memory();
  if (const auto& done = context_.signals.look().done) {
    r.sink_cpu = std::chrono::microseconds(done->cpu_us);
    r.sink_peak_memory = done->peak_rss;
    r.commit_to_resume = std::chrono::microseconds(done->commit_to_resume_us);
  }
  return r;
}

}  // namespace godwit
