#include "engine/source_outage.h"

#include <fmt/format.h>

#include "base/units.h"

namespace godwit {

namespace {
// A sink that has given up says why before it closes its connections, of which the lanes' ends may be noticed first.
constexpr Duration kLastWord = std::chrono::seconds(1);
// Times --link-patience.
constexpr int kFruitless = 2;
constexpr Duration kLookAtLink = std::chrono::milliseconds(100);
// Of the goodbye. An operator who has cancelled waits for the end; all others have waited for the link before.
constexpr Duration kOperatorAwaitsEnd = std::chrono::milliseconds(700);
constexpr Duration kGoodbyeTakes = std::chrono::seconds(3);
}  // namespace

void SourceOutage::bear() {
  if (context_.link_patience > Duration::zero()) context_.link.bear();
}

Status SourceOutage::await_last_word() const {
  context_.signals.await([](const SourceSignals& s) { return s.failed || s.closed; }, kLastWord);
  return context_.no_error_yet();
}

/// A link that comes back again and again, and carries nothing, would keep the move for ever.
Status SourceOutage::check_it_is_of_use(const Error& why, Instant heard) {
  const std::uint32_t fence = context_.signals.look().fence;
  if (!fruitless_since_ || fence != fence_then_) {
    fruitless_since_ = heard;
    fence_then_ = fence;
  }
  if (context_.now() - *fruitless_since_ < kFruitless * context_.link_patience) return {};
  return fail(why.kind, fmt::format("{}; the link has come back again and again for {}, and nothing has got through",
                                    why.message, format_duration(context_.now() - *fruitless_since_)));
}

Status SourceOutage::ride_out(RamCopy& ram) {
  TRY(await_last_word());
  const Error why = *context_.link.look();
  const Instant heard = context_.signals.look().heard_at;
  context_.link_lost_at = heard;
  TRY(check_it_is_of_use(why, heard));
  context_.parts.log.warning("link-lost", {{"reason", why.message}, {"patience", context_.link_patience}});
  context_.note(
      fmt::format("the link to the destination is lost ({}); the guest runs on here, and the move waits up to {} "
                  "for the link",
                  why.message, format_duration(context_.link_patience)));
  session_.part();
  ram.part_from_lost_link();
  context_.link.forget();
  ++outages_;
  Status back;
  {
    Rejoin rejoin(context_.parts, {.hello = session_.rejoin_hello(), .urgent = session_.has_urgent()});
    back = await_link(rejoin, why, ram);
    session_.tried(rejoin.end());
  }
  const Duration took = context_.now() - heard;
  lasted_ += took;
  TRY(std::move(back));
  context_.link_lost_at.reset();
  context_.parts.log.info("link-back", {{"took", took}});
  context_.note(fmt::format("the link is back after {}; the move goes on", format_duration(took)));
  return {};
}

Status SourceOutage::await_link(Rejoin& rejoin, const Error& why, RamCopy& ram) {
  while (true) {
    context_.signals.await([](const SourceSignals& s) { return s.failed; }, kLookAtLink);
    TRY(context_.no_error_yet());
    TRY(context_.check_guest());
    context_.take_changes();
    const Verdict verdict = decide(context_.parts.goals, ram.sample());
    if (const auto* give_up = std::get_if<GiveUp>(&verdict)) return fail(ErrorKind::kTimedOut, give_up->reason);
    if (auto found = rejoin.take()) {
      auto rejoined = TRY(*std::move(found));
      session_.join(std::move(rejoined.control));
      return ram.join(std::move(rejoined.lanes), std::move(rejoined.urgent));
    }
    if (context_.now() - *context_.link_lost_at >= context_.link_patience) {
      const std::string latest = rejoin.latest();
      return fail(ErrorKind::kPeerLost,
                  fmt::format("{}; the link has not come back within {}{}", why.message,
                              format_duration(context_.link_patience), latest.empty() ? "" : " (" + latest + ")"));
    }
    if (context_.on_look) context_.on_look();
  }
}

/// A sink that has refused this side, or has said why it gave up, knows.
void SourceOutage::say_goodbye(const std::string& kind, const Error& error) {
  const bool lost = context_.link_lost_at || context_.link.look();
  if (!lost || error.at_peer) return;
  wire::Hello hello = session_.rejoin_hello();
  ++hello.attempt;
  say_late_goodbye(context_.parts, std::move(hello), {kind, error.message},
                   error.kind == ErrorKind::kCancelled ? kOperatorAwaitsEnd : kGoodbyeTakes);
}

void SourceOutage::account(Report& report) const {
  report.outages = outages_;
  report.outages_lasted = lasted_;
}

}  // namespace godwit
