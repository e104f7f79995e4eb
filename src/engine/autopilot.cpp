#include "engine/autopilot.h"

#include <algorithm>
#include <cmath>

#include "base/units.h"

namespace godwit {

namespace {

using std::chrono::duration;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Devices saved, sent over a fast link and loaded, and two messages each way: 3.5 to 10 ms were measured on lean and
// full VMs.
constexpr Duration kDevicePause = milliseconds(10);

// A harvest re-arms every written page, which costs the guest a fault per page: a flat-out writer loses 6-13 % at one
// harvest a second and about half at ten. So: one a second while there is much to send, and never more than 20.
constexpr Duration kHarvestEvery = std::chrono::seconds(1);
constexpr Duration kHarvestAtMostEvery = milliseconds(50);

// Now and then one comes sooner, the first two among them: what was written in times of different lengths tells pages
// that are written again and again from ever new ones, and that tells how long it will take (write_curve.h).
constexpr Duration kFirstHarvestAfter = milliseconds(100);
constexpr Duration kSoonerHarvestAfter = milliseconds(300);
constexpr std::uint64_t kOneInSooner = 8;

// Rarer than the hand-over of a VM with shared RAM takes: a harvest that meets the guest's stop lengthens the pause.
constexpr Duration kHarvestInHandover = milliseconds(250);

// Pages that take no longer than this disappear beside the devices.
constexpr Duration kNotWorthARound = milliseconds(2);
// A round that is not shorter than this, and a harvest that finds no fewer pages, are as those before. So a second of
// rounds buys at least a tenth of a second of the pause.
constexpr double kLess = 0.9;
constexpr Duration kShortestRound = kHarvestAtMostEvery * 3 / 2;  // harvests come a little later than they may
constexpr int kRoundsMayTake = 20;

// So many harvests after memory was copied once tell what a guest is like.
constexpr std::uint64_t kFewRounds = 4;
// QEMU stops a guest within a pass over its RAM, some GiB a second.
constexpr Duration kHandoverIsLong = std::chrono::seconds(15);

// A harvest or two at the same share tell what that share does. What a guest writes follows its CPU time roughly, so
// the share goes straight to where the pause would fit, but not by more than this at once: most guests write their
// hottest pages as often with half of it.
constexpr std::uint64_t kHarvestsAtShare = 2;
constexpr double kShareAtOnce = 0.4;
constexpr double kAtLeast = 0.9;
constexpr double kSameShare = 0.005;

constexpr double kPageBytes = 4096;
constexpr double kMostShown = 1e18;

// Far above any bound, and far below what a Duration holds.
constexpr double kLongestPauseSeconds = 24 * 3600;

double in_seconds(Duration d) {
  return duration_cast<duration<double>>(d).count();
}

/// Pages that a harvest would find now. What a guest writes in a time t grows slower than t, because it writes some
/// pages again and again: the square root is between "the same set every time" and "always new pages".
double expected_harvest(const Sample& s) {
  const double interval = std::max(in_seconds(s.last_interval), 1e-6);
  const double ratio = in_seconds(s.since_harvest) / interval;
  const double growth = ratio < 1 ? std::sqrt(ratio) : ratio;
  const double written = static_cast<double>(s.last_harvest) * growth + static_cast<double>(s.deferred);
  return s.ram_pages == 0 ? written : std::min(written, static_cast<double>(s.ram_pages));
}

/// A shorter time has not left the guest with fewer pages: it writes the same ones again and again.
bool is_at_its_least(const Sample& s) {
  return s.harvest_before > 0 && in_seconds(s.last_interval) < kLess * in_seconds(s.interval_before) &&
         static_cast<double>(s.last_harvest) > kLess * static_cast<double>(s.harvest_before);
}

/// What the next harvest would cover: with its own look, as the harvests before have theirs in what they covered.
double next_interval(const Sample& s) {
  return in_seconds(s.since_harvest) + in_seconds(s.scan);
}

/// The third round that is like those before: others would follow without end.
bool repeats_itself(const Sample& s) {
  const auto is_like = [](double one, double other) { return one > kLess * other && other > kLess * one; };
  return s.harvest_before > 0 && is_like(in_seconds(s.last_interval), in_seconds(s.interval_before)) &&
         is_like(next_interval(s), in_seconds(s.last_interval)) &&
         is_like(static_cast<double>(s.last_harvest), static_cast<double>(s.harvest_before));
}

/// No shorter pause is worth a move that ends without one.
bool has_time_for_rounds(const Goals& goals, const Sample& s) {
  const Duration end = goals.deadline ? std::min(*goals.deadline, goals.timeout) : goals.timeout;
  return end - s.elapsed > kRoundsMayTake * s.since_harvest;
}

/// A harvest now leaves for the pause only what is written while its pages drain. So the pause becomes shorter with
/// each round, down to where rounds are as short as they get, or the guest writes no fewer pages in a shorter one. A
/// round is tried if in the best case, that pages grow with the time, it would make the pause shorter; so rounds end by
/// themselves. A guest that is slowed down waits only for those that pay in any case.
bool another_round_pays(const Goals& goals, const Sample& s, Duration pages) {
  if (pages <= kNotWorthARound || repeats_itself(s)) return false;
  if (2 * std::max(pages, kHarvestAtMostEvery) <= s.since_harvest) return true;
  if (s.share < 1 || !has_time_for_rounds(goals, s)) return false;
  const double since = in_seconds(s.since_harvest);
  const double ratio = std::min(since / std::max(in_seconds(s.last_interval), 1e-6), 1.0);
  const double best = std::max(in_seconds(pages) * std::sqrt(ratio), in_seconds(kShortestRound));
  const bool is_shorter = next_interval(s) <= kLess * in_seconds(s.last_interval);
  return is_shorter && best <= kLess * since && !is_at_its_least(s);
}

/// While there is much to send.
Duration harvest_after(const Sample& s) {
  if (s.harvests == 0) return kFirstHarvestAfter;
  return s.harvests % kOneInSooner == 1 ? kSoonerHarvestAfter : kHarvestEvery;
}

/// Looks at all of RAM, whatever the guest has written.
Duration looks(const Sample& s) {
  return s.scan + s.rechecks;
}

Duration to_send(double bytes, const Sample& s) {
  return duration_cast<Duration>(duration<double>(std::min(bytes / s.wire_bytes_per_second, kLongestPauseSeconds)));
}

/// What the pause takes whatever pages are left. A slow link's part shows in the devices' bytes.
Duration besides_pages(const Sample& s) {
  const bool known = s.wire_bytes_per_second > 0;
  return kDevicePause + looks(s) + (known ? to_send(static_cast<double>(s.device_bytes), s) : Duration{});
}

/// What pages may take of the pause. A bound below what devices take by themselves leaves them a quarter of it rather
/// than nothing.
Duration room_for_pages(const Goals& goals, const Sample& s) {
  return std::max(goals.max_downtime - besides_pages(s), goals.max_downtime / 4);
}

std::string bytes_a_second(double bytes) {
  return format_size(static_cast<std::uint64_t>(std::clamp(bytes, 0.0, kMostShown))) + "/s";
}

std::string looks_take_too_long(const Goals& goals, const Sample& s) {
  return "the last look at which pages were written would pause the guest for " + format_duration(looks(s)) +
         " by itself, more than --max-downtime " + format_duration(goals.max_downtime);
}

std::string does_not_stop(const Goals& goals) {
  return "QEMU has been asked to stop the guest and cannot do so within --max-downtime " +
         format_duration(goals.max_downtime) +
         ": what it must send itself, such as video memory, is written as fast as it goes";
}

std::string why_not_yet(const Goals& goals, const Sample& s) {
  if (s.handing_over) return does_not_stop(goals);
  if (s.paused) return "the memory of the paused guest was still being sent";
  const auto predicted = predict_pause(s);
  if (!predicted) return "its memory has not been copied once";
  if (looks(s) > goals.max_downtime) return looks_take_too_long(goals, s);
  if (*predicted <= goals.max_downtime) return "its memory was still being sent";
  return "the guest writes memory so fast that its pause would be " + format_duration(*predicted) +
         ", more than --max-downtime " + format_duration(goals.max_downtime);
}

}  // namespace

std::optional<Duration> predict_pause(const Sample& s) {
  if (s.harvests == 0) return std::nullopt;
  const double bytes = expected_harvest(s) * s.wire_bytes_per_page;
  // A guest that writes nothing leaves nothing to send: how fast it would go need not be known, and may never be.
  if (bytes <= 0) return besides_pages(s);
  if (s.wire_bytes_per_second <= 0) return std::nullopt;
  return besides_pages(s) + to_send(bytes, s);
}

std::optional<std::string> trouble(const Goals& goals, const Sample& s) {
  if (s.paused) return std::nullopt;
  if (s.handing_over) {
    if (s.since_handover < kHandoverIsLong) return std::nullopt;
    return does_not_stop(goals);
  }
  if (!s.first_pass_over || s.harvests < kFewRounds) return std::nullopt;
  if (looks(s) > goals.max_downtime) return looks_take_too_long(goals, s);
  const auto predicted = predict_pause(s);
  if (!predicted || *predicted <= goals.max_downtime || s.wire_bytes_per_page <= 0) return std::nullopt;
  const double interval = std::max(in_seconds(s.last_interval), 1e-6);
  const double written = static_cast<double>(s.last_harvest) * kPageBytes / interval;
  const double sent = s.wire_bytes_per_second / s.wire_bytes_per_page * kPageBytes;
  return "it does not converge so far: the guest writes " + bytes_a_second(written) + ", the link takes " +
         bytes_a_second(sent) + " of that memory (" + bytes_a_second(s.wire_bytes_per_second) +
         " on the wire), so its pause would be " + format_duration(*predicted) + " where --max-downtime allows " +
         format_duration(goals.max_downtime);
}

namespace {

double least_share(const Goals& goals) {
  return 1 - goals.guest_slowdown;
}

double next_share(const Goals& goals, const Sample& s) {
  const auto predicted = predict_pause(s);
  const double pages = in_seconds(predicted.value_or(Duration{}) - besides_pages(s));
  const double fitting = pages > 0 ? in_seconds(room_for_pages(goals, s)) / pages : kAtLeast;
  return std::max(least_share(goals), s.share * std::clamp(fitting, kShareAtOnce, kAtLeast));
}

/// What the operator allows where the guest writes faster than the link carries.
std::optional<Verdict> against_trouble(const Goals& goals, const Sample& s) {
  const bool may_slow = goals.guest_slowdown > 0;
  if (s.handing_over || (!may_slow && !goals.may_postcopy())) return std::nullopt;
  auto why = trouble(goals, s);
  if (!why) return std::nullopt;
  if (may_slow && s.share < 1 && s.harvests_at_share < kHarvestsAtShare) return std::nullopt;
  if (may_slow && s.share > least_share(goals) + kSameShare) return SlowDown{next_share(goals, s)};
  if (goals.may_postcopy()) return PostCopy{*std::move(why)};
  return std::nullopt;
}

/// What the operator has ordered.
std::optional<Verdict> by_order(const Goals& goals, const Sample& s) {
  if (s.handing_over) return std::nullopt;
  switch (goals.order) {
    case Order::kSwitchOver:
      return SwitchOver{predict_pause(s).value_or(Duration{})};
    case Order::kPostcopy:
      return PostCopy{"the operator wants it so"};
    case Order::kNone:
      break;
  }
  return std::nullopt;
}

/// What the operator wants done now; nothing while there is time.
std::optional<Verdict> at_deadline(const Goals& goals, const Sample& s) {
  if (!goals.deadline || s.elapsed < *goals.deadline || s.handing_over) return std::nullopt;
  const std::string late = "--deadline " + format_duration(*goals.deadline);
  switch (goals.on_deadline) {
    case OnDeadline::kCancel:
      return GiveUp{"it did not converge within " + late + ": " + why_not_yet(goals, s)};
    case OnDeadline::kPause:
      return SwitchOver{predict_pause(s).value_or(Duration{})};
    case OnDeadline::kPostcopy:
      return PostCopy{late + " has come"};
  }
  return std::nullopt;
}

/// A guest that somebody else has paused writes nothing: no pause can be too long for it, and post-copy is of no use.
Verdict as_it_stands(const Goals& goals, const Sample& s) {
  if (goals.deadline_is_bound() && s.elapsed >= *goals.deadline) return *at_deadline(goals, s);
  if (!s.drained) return GoOn{};
  return s.harvests > 0 ? Verdict{SwitchOver{predict_pause(s).value_or(Duration{})}} : Verdict{Harvest{}};
}

}  // namespace

Verdict decide(const Goals& goals, const Sample& s) {
  if (s.elapsed >= goals.timeout) {
    return GiveUp{"it did not converge within --timeout " + format_duration(goals.timeout) + ": " +
                  why_not_yet(goals, s)};
  }
  if (s.early) return PostCopy{};
  if (s.paused && !s.handing_over) return as_it_stands(goals, s);
  if (auto ordered = by_order(goals, s)) return *std::move(ordered);
  if (auto late = at_deadline(goals, s)) return *std::move(late);
  if (auto help = against_trouble(goals, s)) return *std::move(help);
  const auto predicted = predict_pause(s);
  const Duration pages = predicted ? *predicted - besides_pages(s) : Duration{};
  const bool fits = predicted && pages <= room_for_pages(goals, s) && looks(s) <= goals.max_downtime;
  if (!s.drained) {
    // What is written again and again under a wide bound would never drain: where it fits, no more is posted.
    const bool let_it_drain = s.first_pass_over && fits;
    return s.since_harvest >= harvest_after(s) && !let_it_drain ? Verdict{Harvest{}} : Verdict{GoOn{}};
  }
  if (fits) return another_round_pays(goals, s, pages) ? Verdict{Harvest{}} : Verdict{SwitchOver{*predicted}};
  const bool first = s.harvests == 0;
  return first || s.since_harvest >= kHarvestAtMostEvery ? Verdict{Harvest{}} : Verdict{GoOn{}};
}

std::string_view name_of(Step step) noexcept {
  switch (step) {
    case Step::kGoOn:
      return "go-on";
    case Step::kHarvest:
      return "harvest";
    case Step::kHarvestForAll:
      return "harvest-for-all";
    case Step::kHarvestNearStop:
      return "harvest-near-stop";
    case Step::kHandOver:
      return "hand-over";
    case Step::kHandOverEarly:
      return "post-copy";
  }
  return "unknown";
}

Step next_step(const Verdict& verdict, const Round& round, const Sample& s) {
  if (std::holds_alternative<PostCopy>(verdict)) return Step::kHandOverEarly;
  if (s.handing_over) return s.since_harvest >= kHarvestInHandover ? Step::kHarvestNearStop : Step::kGoOn;
  // Pages posted again are mostly of one value: a round in which some went tells too little of what others cost. So one
  // more follows in which none are left out, and that can end in the hand-over.
  if (std::holds_alternative<SwitchOver>(verdict)) return round.posted_again ? Step::kHarvestForAll : Step::kHandOver;
  return std::holds_alternative<Harvest>(verdict) ? Step::kHarvest : Step::kGoOn;
}

Round round_after(Step step, const Round& round) {
  if (step == Step::kGoOn || step == Step::kHandOver || step == Step::kHandOverEarly) return round;
  return {.leaves_out = step != Step::kHarvestForAll, .posted_again = false};
}

}  // namespace godwit
