#include "engine/sink_migration.h"
#include "base/cpu_account.h"
#include "base/without_exceptions.h"

#include <fmt/format.h>

#include <mutex>
#include <stop_token>

namespace godwit {

namespace {
// A commit may be on its way: whoever is prepared waits for the word, and does not give up on a short silence.
constexpr Duration kCommitPatience = std::chrono::seconds(60);
}  // namespace

SinkReport run_sink(SinkParts parts) {
  // Notes come from the greeter's thread, too.
  std::mutex noting;
  if (parts.on_note) {
    parts.on_note = [&noting, say = std::move(parts.on_note)](std::string_view text) {
      const std::lock_guard lock(noting);
      say(text);
    };
  }
  Broker broker(parts.listener, parts.clock, 1, parts.on_note, parts.wrap);
  return run_sink(parts, broker);
}

SinkReport run_sink(const SinkParts& parts, Broker& broker) {
  while (true) {
    SinkMigration migration(parts, broker);
    SinkReport report = migration.run();
    if (!migration.another_may_come()) {
      // Whoever has been cancelled cannot be again, and such a word is kept for a moment only. One that is kept for
      // another reason is dropped by a cancel, before or meanwhile.
      const bool by_operator = report.error && report.error->kind == ErrorKind::kCancelled;
      broker.await_word_told(by_operator ? std::stop_token{} : parts.cancelled);
      return report;
    }
    if (!parts.on_note) continue;
    const bool refused = report.error->kind == ErrorKind::kRefused;
    parts.on_note(fmt::format("{}: {}; waiting for a source again",
                              refused ? "a source was turned away, and nothing was changed here"
                                      : "a move broke off before it had changed anything here",
                              report.error->message));
  }
}

SinkReport run_sink(const SinkParts& parts, Broker::Place place) {
  return SinkMigration(parts, std::move(place)).run();
}

SinkMigration::~SinkMigration() {
  abort_channels();
  if (context_.vm != nullptr && !context_.runs()) context_.vm->interrupt();
}

/// A host that gives no further thread is a reason to fail like others: the guest is given up or kept by the rules.
SinkReport SinkMigration::run() noexcept {
  const std::stop_callback on_cancel(context_.parts.cancelled, [this] { session_.cancel(); });
  if (Status running = without_exceptions([this] { return up_to_running(); }); !running) {
    // Whatever fails when all of a guest is here that runs.
    if (context_.runs() && !lacks_pages()) {
      context_.note("the guest runs here, with all of its memory, but: " + running.error().message);
    } else {
      session_.fail_with(std::move(running).error());
    }
  }
  if (context_.state() == SinkState::kCommitted) {
    const Error error = *context_.error.get();
    (void)session_.control().send(
        wire::Abort{std::string(name_of(ErrorKind::kHypervisor)), error.message, takeover_ && takeover_->never_ran()});
  }
  (void)without_exceptions([this]() -> Status {
    session_.see_off();
    return {};
  });
  abort_channels();
  end_threads();
  if (context_.vm != nullptr && !context_.runs()) context_.vm->give_up();
  (void)without_exceptions([this]() -> Status {
    if (const auto error = context_.error.get()) outage_.leave_word(*error);
    return {};
  });
  return report();
}

bool SinkMigration::another_may_come() const {
  const auto error = context_.error.get();
  const bool lost = session_.has_come() && !context_.has_come_to(SinkState::kMapping) && error &&
                    (reception_.turned_away() || error->kind != ErrorKind::kRefused);
  return lost && !context_.parts.cancelled.stop_requested() && (context_.vm == nullptr || context_.vm->check_waits());
}

Status SinkMigration::up_to_running() {
  TRY(session_.await());
  TRY(welcome());
  TRY(take_map());
  TRY(take_guest());
  TRY(take_over());
  return ram_->is_early() ? take_rest() : Status{};
}

Status SinkMigration::welcome() {
  ram_.emplace(context_, session_, TRY(reception_.welcome()));
  return {};
}

Status SinkMigration::take_map() {
  while (!context_.has_come_to(SinkState::kCopying)) {
    const auto message = TRY(next_message());
    if (const auto* map = std::get_if<wire::DataMap>(&message)) TRY(ram_->apply(*map));
  }
  TRY(ram_->start(*loader_));
  outage_.bear();
  return {};
}

/// Lanes and loader work by themselves, and make this side prepared.
Status SinkMigration::take_guest() {
  while (!context_.has_come_to(SinkState::kCommitted)) {
    auto message = TRY(next_message());
    if (auto* device = std::get_if<wire::DeviceBytes>(&message)) TRY(loader_->push(std::move(device->bytes)));
    if (const auto* packed = std::get_if<wire::PackedDevices>(&message)) TRY(loader_->push_packed(*packed));
    if (std::holds_alternative<wire::GuestStopped>(message)) {
      session_.control().set_silence(kCommitPatience);
      loader_->guest_stopped();
    }
    if (const auto* map = std::get_if<wire::MissingMap>(&message)) TRY(ram_->add_missing(*map));
    if (std::holds_alternative<wire::MissingMapEnd>(message)) {
      TRY(context_.has_come_to(SinkState::kStopped) ? ram_->run_early() : ram_->take_away_ahead());
    }
    if (std::holds_alternative<wire::DeviceEnd>(message)) loader_->end_of_stream();
    if (std::holds_alternative<wire::StayPaused>(message)) session_.hear_of_pause();
  }
  return {};
}

Status SinkMigration::take_over() {
  if (context_.early) {
    // From here on giving up would lose the guest.
    session_.bear_silence(kPostcopyPatience);
    ram_->bear_silence(kPostcopyPatience);
  }
  takeover_.emplace(context_, session_);
  TRY(takeover_->run());
  takeover_->follow_up(*loader_, *ram_);
  return {};
}

/// The guest runs, and waits for what it touches and does not have. The source goes when it has been told that all is
/// here.
Status SinkMigration::take_rest() {
  while (!ram_->all_there()) {
    auto message = session_.receive();
    if (ram_->all_there()) break;
    TRY(std::move(message));
  }
  TRY(ram_->end_early());
  return context_.parts.journal.starting();
}

/// The next one that is in order; its state has been entered, because what is done next may make this side prepared.
Result<wire::Message> SinkMigration::next_message() {
  auto message = TRY(next_but_heartbeats());
  const auto next = TRY(next_state(context_.state(), message));
  if (context_.state() == SinkState::kWelcomed) TRY(begin_to_change());
  if (next != context_.state()) context_.parts.log.info("state", {{"state", name_of(next)}});
  if (next == SinkState::kCommitted && !context_.commit()) return fail(*context_.error.get());
  context_.enter(next);
  return message;
}

/// The source's heartbeat makes this a look a second: lanes would go on filling the memory of a dead hypervisor, or of
/// one that somebody else has put to use.
Result<wire::Message> SinkMigration::next_but_heartbeats() {
  while (true) {
    TRY(context_.vm->check_waits());
    auto message = session_.receive();
    if (message && !std::holds_alternative<wire::Heartbeat>(*message)) {
      TRY(outage_.bear_no_more());
      return message;
    }
    if (const auto why = outage_.found_in(message)) {
      TRY(outage_.ride_out(*why, *ram_));
    } else {
      TRY(std::move(message));
    }
  }
}

/// From here on something changes here: no other source may come. The first thing asked is whether the hypervisor still
/// waits: somebody may have let a guest run in it since this engine attached, whose memory is not to be touched.
Status SinkMigration::begin_to_change() {
  TRY(context_.vm->open_incoming());
  TRY(context_.vm->check_waits());
  TRY(reception_.end());
  loader_.emplace(
      *context_.vm, context_.parts.clock, [this] { on_prepared(); },
      [this](Error error) { session_.fail_with(std::move(error)); });
  return {};
}

/// From the loader's thread.
void SinkMigration::on_prepared() {
  context_.parts.on_milestone(Milestone::kLoaded);
  if (!context_.become_prepared()) return;
  if (Status sent = session_.control().send(wire::Prepared{}); !sent) {
    return session_.fail_with(std::move(sent).error());
  }
  context_.parts.on_milestone(Milestone::kPrepared);
}

void SinkMigration::abort_channels() noexcept {
  if (!context_.runs()) session_.abort();
  if (ram_) ram_->abort();
}

/// It looks like the whole guest and is not: nobody shall let it run. The source has all of it. One that cannot be
/// ended goes on waiting for its pages, which is better than zeros in their place.
void SinkMigration::end_what_lacks_pages() {
  if (const Status ended = session_.end_unrun(); !ended) {
    context_.note("the QEMU here holds a part of a guest that stayed at the source: end it (" + ended.error().message +
                  ")");
  }
}

/// Nobody touches the hypervisor any more when this returns.
void SinkMigration::end_threads() {
  if (context_.early && context_.give_up_for_good()) end_what_lacks_pages();
  if (context_.vm != nullptr && !context_.runs()) context_.vm->interrupt();
  // The lanes first: their last fence speaks to the loader.
  if (ram_) ram_->stop();
  if (ram_ && !ram_->give_up_ahead() && context_.give_up_for_good()) end_what_lacks_pages();
  if (loader_) loader_->stop();
}

SinkReport SinkMigration::report() const {
  const bool never_ran = takeover_ && takeover_->never_ran();
  SinkReport r;
  r.postcopy = context_.early;
  r.outcome = context_.runs() && lacks_pages() ? Outcome::kIncomplete
              : context_.runs()                ? Outcome::kDone
              : context_.has_come_to(SinkState::kCommitted) && !never_ran
                  ? Outcome::kInDoubt
                  : session_.ended_there().value_or(Outcome::kSourceRuns);
  // Of lanes that broke when nothing was missing any more.
  if (r.outcome != Outcome::kDone) r.error = context_.error.get();
  r.changed = context_.has_come_to(SinkState::kMapping);
  r.vm_name = context_.parts.fingerprint.vm_name;
  session_.account(r);
  if (ram_) r.bytes_received += ram_->bytes_received();
  if (loader_) r.device_load = loader_->took();
  if (takeover_) r.commit_to_resume = takeover_->took();
  r.cpu = job_cpu_time();
  return r;
}

}  // namespace godwit
