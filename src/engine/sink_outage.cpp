#include "engine/sink_outage.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "wire/limits.h"

namespace godwit {

namespace {
// The source may have heard of this side for longer than this side of it, by the time after which a peer counts as
// dead; and its last try, begun in time, may take as long as it waits for Welcome.
constexpr Duration kLongerThanTheSource = kPeerDeadAfter + std::chrono::seconds(14);
// So often it is asked whether the hypervisor still waits.
constexpr Duration kLookAtHypervisor = std::chrono::milliseconds(500);
constexpr Duration kBackAnswerPatience = std::chrono::seconds(5);
// A source that looks at its guest's memory, or asks its hypervisor, is not quick to answer that it has heard why.
constexpr Duration kLateAnswer = std::chrono::seconds(10);
// An operator who has cancelled waits for the end.
constexpr Duration kOperatorWaits = std::chrono::milliseconds(700);
}  // namespace

void SinkOutage::bear() {
  if (context_.link_patience <= Duration::zero()) return;
  session_.let_come_back();
  context_.link.bear();
}

Status SinkOutage::bear_no_more() {
  session_.let_come_back_no_more();
  if (context_.link.bear_no_more()) return {};
  return fail(*context_.link.look());
}

std::optional<Error> SinkOutage::found_in(const Result<wire::Message>& message) const {
  if (context_.error.get() || !context_.link.bears()) return std::nullopt;
  if (message) return context_.link.look();
  // One that was cut from here: the source has come back before this side had missed it.
  const bool cut = message.error().kind == ErrorKind::kCancelled && !session_.source_gave_up();
  if (!cut && !LinkWatch::is_loss(message.error())) return std::nullopt;
  return context_.link.look().value_or(message.error());
}

Status SinkOutage::ride_out(const Error& why, IncomingRam& ram) {
  const auto heard = session_.heard_at();
  const auto until = heard + context_.link_patience + kLongerThanTheSource;
  const auto tell_lost = [&] {
    context_.parts.log.warning("link-lost", {{"reason", why.message}, {"patience", context_.link_patience}});
    context_.note(fmt::format("the link to the source is lost ({}); waiting up to {} for the source to come back",
                              why.message, format_duration(std::max(until - context_.now(), Duration::zero()))));
  };
  // One that only changes the number of its lanes has ended nothing before it was here.
  auto back = session_.await_back(Duration::zero());
  bool changes_lanes = back && back->hello.changes_lanes;
  if (!changes_lanes) tell_lost();
  away_ = true;
  session_.part();
  ram.part();
  context_.link.forget();
  std::string latest;
  while (true) {
    if (auto error = context_.error.get()) return fail(*error);
    TRY(context_.vm->check_waits());
    if (context_.now() >= until) {
      return fail(ErrorKind::kPeerLost,
                  fmt::format("{}; the source has not come back within {}{}", why.message,
                              format_duration(context_.now() - heard), latest.empty() ? "" : " (" + latest + ")"));
    }
    if (!back) back = session_.await_back(kLookAtHypervisor);
    if (!back && back.error().kind == ErrorKind::kTimedOut) continue;
    if (!back) return fail(std::move(back).error());
    const unsigned lanes = back->hello.lanes - (ram.has_urgent() ? 1U : 0U);
    const Status taken = take_back(*std::exchange(back, fail(ErrorKind::kTimedOut, "not yet")), ram);
    if (taken) {
      away_ = false;
      tell_back(changes_lanes ? std::optional(lanes) : std::nullopt, context_.now() - heard);
      return {};
    }
    if (session_.source_gave_up()) return taken;
    if (std::exchange(changes_lanes, false)) tell_lost();
    latest = taken.error().message;
    context_.parts.log.warning("not-back", {{"reason", latest}});
    session_.part();
  }
}

void SinkOutage::tell_back(std::optional<unsigned> other_lanes, Duration took) const {
  if (other_lanes) {
    context_.parts.log.info("lanes", {{"to", *other_lanes}});
    return context_.note(fmt::format("the source goes on with {} lane{}", *other_lanes, *other_lanes == 1 ? "" : "s"));
  }
  context_.parts.log.info("link-back", {{"took", took}});
  context_.note(fmt::format("the source is back after {}; the move goes on", format_duration(took)));
}

Status SinkOutage::check(const wire::Hello& hello, const IncomingRam& ram) const {
  const unsigned least = ram.has_urgent() ? 2 : 1;
  if (hello.id == session_.hello().id && hello.lanes >= least && hello.lanes <= wire::kMaxLanes &&
      hello.open_lanes == 0) {
    return {};
  }
  return fail(ErrorKind::kRefused, "it is not the source of this move, or asks for what it had not asked for before");
}

Status SinkOutage::take_back(GreetedSource source, IncomingRam& ram) {
  const Status fits = check(source.hello, ram);
  session_.join(std::move(source.control));
  if (!fits) {
    (void)session_.control().send(wire::Refusal{fits.error().message}, Deadline::in(kBackAnswerPatience));
    return fits;
  }
  if (source.hello.gives_up) return fail(session_.hear_goodbye(kBackAnswerPatience));
  wire::Welcome welcome{
      .fingerprint = context_.parts.fingerprint, .program = context_.parts.program, .warnings = {}, .rejoin = true};
  TRY(session_.control().send(welcome, Deadline::in(kBackAnswerPatience)));
  session_.begin_beating();
  ram.join(TRY(session_.await_lanes(source.hello.lanes, true)));
  return {};
}

/// A source that has heard it says goodbye before it closes the connection.
void SinkOutage::leave_word(const Error& why) {
  // One that does not keep to the protocol is owed nothing.
  if (!context_.link.bears() || session_.source_gave_up() || why.kind == ErrorKind::kProtocol) return;
  Duration for_so_long = session_.heard_at() + context_.link_patience + kLongerThanTheSource - context_.now();
  // It has been told by the connection that was there, and is late to answer if it has heard it.
  if (!away_ && !context_.link.look()) for_so_long = std::min(for_so_long, kLateAnswer);
  const bool cancelled = why.kind == ErrorKind::kCancelled;
  if (cancelled) for_so_long = std::min(for_so_long, kOperatorWaits);
  if (for_so_long <= Duration::zero()) return;
  session_.leave_word("it has given up: " + why.message, for_so_long);
  if (cancelled) return;
  context_.note(fmt::format("given up here: {}; if the source comes back within {}, it is told so", why.message,
                            format_duration(for_so_long)));
}

}  // namespace godwit
