#include "engine/lane_change.h"

#include <algorithm>
#include <utility>

#include "base/without_exceptions.h"

namespace godwit {

namespace {
// A sink turns away whoever has not greeted within 5 s: within less the connections have to be open, and what was sent
// before to have arrived. Where that takes longer, the change would cost more than it is worth.
constexpr Duration kOpenPatience = std::chrono::seconds(2);
constexpr Duration kArrivalPatience = std::chrono::seconds(4);
constexpr Duration kLookAtChange = std::chrono::milliseconds(2);
}  // namespace

LaneChange::LaneChange(SourceContext& context, SinkSession& session)
    : context_(context), session_(session), count_(context.parts.lane_pace, context.parts.goals.most_lanes) {}

Status LaneChange::look(RamCopy& ram) {
  // From when something is begun that cannot be done again on other connections, nothing is changed any more.
  if (!context_.link.bears()) {
    end();
    return {};
  }
  if (rejoin_) return go_on(ram);
  consider(ram);
  return {};
}

void LaneChange::consider(RamCopy& ram) {
  const auto& parts = context_.parts;
  const auto at = context_.now();
  if (parts.goals.most_lanes == 0 || at - looked_at_ < parts.lane_pace.every) return;
  looked_at_ = at;
  const auto wanted = count_.look(ram.lanes_seen());
  if (!wanted) return;
  auto hello = session_.rejoin_hello();
  hello.lanes = static_cast<std::uint16_t>(*wanted + (session_.has_urgent() ? 1 : 0));
  hello.changes_lanes = true;
  begun_ = at;
  auto begun = without_exceptions([&]() -> Result<std::unique_ptr<Rejoin>> {
    return std::make_unique<Rejoin>(parts, Rejoin::Wanted{.hello = std::move(hello), .urgent = session_.has_urgent()});
  });
  if (!begun) return give_up(begun.error());
  rejoin_ = *std::move(begun);
}

Status LaneChange::go_on(RamCopy& ram) {
  if (!rejoin_->is_open()) {
    const auto failed = rejoin_->take();
    if (failed)
      give_up(failed->error());
    else if (context_.now() - begun_ >= kOpenPatience)
      give_up({ErrorKind::kTimedOut, "they were not open in time"});
    return {};
  }
  ram.hold();
  const Status changed = change(ram);
  if (changed) return {};
  ram.go_on_sending();
  // What ends the move, or the link, is looked at by whoever looks at it in any case.
  give_up(changed.error());
  return {};
}

/// Fails where the old lanes are to go on, if they can.
Status LaneChange::change(RamCopy& ram) {
  const auto held_at = context_.now();
  const unsigned before = context_.parts.goals.lanes;
  TRY(await_all_there(ram));
  auto opened = TRY(await_lanes(ram));
  end();
  session_.part();
  ram.part();
  context_.link.forget();
  session_.join(std::move(opened.control));
  ram.change_lanes(std::move(opened.lanes), std::move(opened.urgent));
  const Duration took = context_.now() - held_at;
  context_.parts.log.info("lanes", {{"from", before}, {"to", context_.parts.goals.lanes}, {"took", took}});
  count_.changed(took);
  before_ = before;
  fence_then_ = context_.signals.look().fence;
  return {};
}

Status LaneChange::await_all_there(RamCopy& ram) const {
  while (!ram.is_all_there()) {
    TRY(look_around());
    TRY(check_it_goes_on(ram));
    if (const auto lost = context_.link.look()) return fail(*lost);
    if (context_.now() - begun_ >= kArrivalPatience) {
      return fail(ErrorKind::kTimedOut, "what was on its way did not arrive in time");
    }
  }
  return {};
}

/// The sink ends the old connections as soon as it has heard Hello: that they are lost tells nothing here. What the
/// operator and the time want waits for the answer, or for the outage that follows; only the end of the move does not.
Result<Rejoined> LaneChange::await_lanes(const RamCopy& ram) const {
  rejoin_->say_hello();
  const auto since = context_.now();
  while (true) {
    TRY(look_around());
    context_.take_changes();
    const Verdict verdict = decide(context_.parts.goals, ram.sample());
    if (const auto* over = std::get_if<GiveUp>(&verdict)) return fail(ErrorKind::kTimedOut, over->reason);
    if (auto found = rejoin_->take()) return *std::move(found);
    if (context_.now() - since >= context_.link_patience / 2) {
      return fail(ErrorKind::kTimedOut, "the destination did not answer in time");
    }
  }
}

/// Whatever an operator or the time wants now comes first.
Status LaneChange::check_it_goes_on(const RamCopy& ram) const {
  context_.take_changes();
  const Verdict verdict = decide(context_.parts.goals, ram.sample());
  if (std::holds_alternative<GoOn>(verdict) || std::holds_alternative<Harvest>(verdict) ||
      std::holds_alternative<SlowDown>(verdict)) {
    return {};
  }
  return fail(ErrorKind::kCancelled, "the copying comes to its end");
}

Status LaneChange::look_around() const {
  context_.signals.await([](const SourceSignals& s) { return s.failed; }, kLookAtChange);
  TRY(context_.no_error_yet());
  TRY(context_.check_guest());
  if (context_.on_look) context_.on_look();
  return {};
}

void LaneChange::give_up(const Error& why) {
  end();
  context_.parts.log.info("lanes-kept", {{"lanes", context_.parts.goals.lanes}, {"reason", why.message}});
  count_.not_changed(context_.parts.goals.lanes);
}

/// Connections by which nothing has been confirmed may be too many for what is between the hosts.
void LaneChange::interrupt() {
  end();
  const auto before = std::exchange(before_, std::nullopt);
  if (before && context_.signals.look().fence == fence_then_) {
    context_.parts.goals.lanes = *before;
    return count_.not_changed(*before);
  }
  count_.interrupted();
}

void LaneChange::end() {
  if (!rejoin_) return;
  session_.tried(rejoin_->end());
  rejoin_.reset();
}

}  // namespace godwit
