#include "engine/source_session.h"

#include <fmt/format.h>

#include "engine/alarm.h"
#include "engine/lost_packets.h"

namespace godwit {

namespace {
constexpr Duration kSeeOffPatience = std::chrono::seconds(2);
}  // namespace

Status SourceSession::await() {
  const auto& parts = context_.parts;
  parts.on_milestone(Milestone::kListening);
  if (!place_) place_.emplace(TRY(broker_->await_source(parts.patience, waits_no_more_.get_token())));
  GreetedSource& source = place_->source();
  came_ = context_.now();
  hello_ = std::move(source.hello);
  channel_ = std::move(source.control);
  control_.emplace(*channel_);
  connected_ = true;
  if (parts.cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
  parts.on_milestone(Milestone::kGreeted);
  if (parts.on_source) parts.on_source(hello_.id);
  parts.log.info("hello", {{"source", hello_.fingerprint.version},
                           {"lanes", hello_.lanes},
                           {"program", hello_.program},
                           {"security", channel_->link().security()}});
  return {};
}

Result<std::vector<GreetedLane>> SourceSession::await_lanes(unsigned count, bool all) {
  return place_->await_lanes(count, all, waits_no_more_.get_token());
}

void SourceSession::begin_beating() {
  control_->set_silence(kPeerDeadAfter);
  heard_at_ = context_.now();
  heartbeat_.emplace(*control_, context_.parts.heartbeat);
}

Result<wire::Message> SourceSession::receive() {
  const bool first = heartbeat_ && !std::exchange(heard_, true);
  auto message = first ? control_->receive(Deadline::in(kPeerDeadAfter, context_.parts.clock)) : control_->receive();
  if (message) heard_at_ = context_.now();
  const auto* abort = message ? std::get_if<wire::Abort>(&*message) : nullptr;
  // A lane's end may have been noticed before the word that explains it.
  if (abort != nullptr) hear_why(*abort);
  if (auto error = context_.error.get()) return fail(*error);
  if (abort != nullptr) return fail(*gave_up_);
  if (message) return message;
  // One that says something wrong is there to be told so, once: it has proved who it is, and nobody is told before
  // that.
  lost_ = message.error().kind != ErrorKind::kProtocol;
  return fail(lost(std::move(message).error()));
}

Error SourceSession::lost(Error error) const {
  error = std::move(error).in("the connection to the source");
  if (stuck_at_the_first_large_one(channel_->link(), error))
    error.message += fmt::format("; unless the link is down, {}", kMtuHintBack);
  if (error.kind == ErrorKind::kTimedOut) error.kind = ErrorKind::kPeerLost;
  return error;
}

void SourceSession::hear_why(const wire::Abort& abort) {
  for (const auto outcome : {Outcome::kGuestEnded, Outcome::kGuestPaused}) {
    if (abort.kind == name_of(outcome)) ended_there_ = outcome;
  }
  gave_up_ = Error{ErrorKind::kCancelled, "the source gave up: " + abort.reason};
}

void SourceSession::fail_with(Error error) {
  // Whoever comes second, and closes the connection then, waits until the first has said why.
  const std::lock_guard telling(telling_);
  if (!context_.error.report(error)) return;
  tell_failure();
  context_.parts.log.error("failure", {{"kind", name_of(error.kind)}, {"reason", error.message}});
}

void SourceSession::lose_link(Error error) {
  // What was cut from here, because another connection was lost or the source is back: the coordinator sees to it.
  if (error.kind == ErrorKind::kCancelled && context_.link.bears()) return;
  if (!context_.link.lost(error)) fail_with(std::move(error));
}

void SourceSession::cut() noexcept {
  const std::lock_guard swapping(swapping_);
  channel_->abort();
}

void SourceSession::let_come_back() {
  place_->let_come_back([this] { cut(); });
}

void SourceSession::let_come_back_no_more() {
  if (place_) place_->let_come_back_no_more();
}

void SourceSession::part() {
  lost_ = true;
  cut();
  peak_before_ = peak_memory();
  heartbeat_.reset();
}

Result<GreetedSource> SourceSession::await_back(Duration at_most) {
  return place_->await_back(at_most, waits_no_more_.get_token());
}

void SourceSession::join(std::unique_ptr<Channel> control) {
  const std::lock_guard telling(telling_);
  const std::lock_guard swapping(swapping_);
  received_before_ += channel_->link().bytes_received();
  channel_ = std::move(control);
  control_.emplace(*channel_);
  heard_ = false;
  lost_ = false;
}

/// Its Hello has said so; what follows only says why.
Error SourceSession::hear_goodbye(Duration at_most) {
  const auto message = control_->receive(Deadline::in(at_most));
  const auto* abort = message ? std::get_if<wire::Abort>(&*message) : nullptr;
  hear_why(abort != nullptr ? *abort : wire::Abort{.kind = {}, .reason = "it could not say why"});
  return *gave_up_;
}

void SourceSession::cancel() {
  const std::lock_guard telling(telling_);
  if (!context_.cancel()) return;
  tell_failure();
  waits_no_more_.request_stop();
}

void SourceSession::tell_failure() {
  if (!connected_ || context_.has_come_to(SinkState::kCommitted)) return;
  const Error error = *context_.error.get();
  // The source may be committing just now: a hypervisor that has ended, unasked or because what it holds is not the
  // whole guest, leaves it no doubt.
  const bool prepared = context_.has_come_to(SinkState::kPrepared);
  const bool ended = prepared && (!context_.vm->check_alive() || (context_.early && context_.give_up_for_good()));
  const bool never_ran = ended && context_.vm->end_unrun();
  if (!lost_) (void)control_->send(wire::Abort{std::string(name_of(error.kind)), error.message, never_ran});
  (void)channel_->shut_down();
}

Status SourceSession::end_unrun() {
  // Whoever tells of a failure may be at it just now.
  const std::lock_guard telling(telling_);
  return context_.vm->end_unrun();
}

void SourceSession::see_off() {
  if (!connected_) return;
  (void)channel_->shut_down();
  control_->set_silence(kSeeOffPatience);
  const auto deadline = context_.now() + kSeeOffPatience;
  // A message that comes byte by byte would keep us for as long as its sender likes.
  const Alarm late(context_.parts.clock, 2 * kSeeOffPatience, [this] { cut(); });
  while (context_.now() < deadline) {
    const auto message = control_->receive();
    if (!message) return;
    if (const auto* abort = std::get_if<wire::Abort>(&*message)) hear_why(*abort);
  }
}

void SourceSession::abort() noexcept {
  if (channel_) channel_->abort();
}

void SourceSession::account(SinkReport& r) const {
  // How the end of the connection was noticed says less than the source's own words.
  if (r.error && r.error->kind == ErrorKind::kPeerLost && gave_up_) r.error = gave_up_;
  r.paused = stays_paused();
  r.id = hello_.id;
  r.source_version = hello_.fingerprint.version;
  if (came_) r.total = context_.now() - *came_;
  r.bytes_received += received_before_;
  if (channel_) r.bytes_received += channel_->link().bytes_received();
  if (channel_) r.security = channel_->link().security();
  r.peak_memory = peak_memory();
}

}  // namespace godwit
