#include "engine/ram_copy.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/delta_memory.h"
#include "engine/fence.h"
#include "engine/given_back.h"

namespace godwit {

namespace {

using std::chrono::milliseconds;

// How long a step looks into pages that were left out: beside lanes that are at work, and when all else is done.
constexpr Duration kLookInto = milliseconds(5);
constexpr Duration kLookIntoInPeace = milliseconds(50);
constexpr Duration kKeepSlowEvery = std::chrono::seconds(1);
constexpr unsigned kKeepSlowTries = 3;  // one may fail because somebody traces a vCPU for a moment
// A look at the disks' queues costs QEMU about a millisecond.
constexpr Duration kSettleEvery = milliseconds(20);
// From the order to stop the guest until the hypervisor has told its vCPUs.
constexpr Duration kStopIsHeard = milliseconds(3);
// Clearing the sink's memory may take long on large VMs. Memory that was preallocated is looked at page by page, and
// stale pages are cleared.
constexpr Duration kMapPatience = std::chrono::seconds(120);
constexpr Duration kMapPatiencePerGiB = milliseconds(500);
// So many are sent within a millisecond or two.
constexpr std::uint64_t kFewPages = 1024;
// The last pages may go far more slowly than those before. A link that is dead is noticed otherwise.
constexpr int kRestMayTake = 4;
constexpr double kLongestRestSeconds = 24 * 3600;
// What is sent in this time goes once more after an outage.
constexpr Duration kFenceEvery = std::chrono::seconds(1);
constexpr std::size_t kMapPiece = 32768;  // chunks a DataMap message

std::uint64_t delta_memory_of_a_lane(const SourceParts& parts) {
  const auto lanes = parts.goals.lanes;
  return parts.goals.delta_memory.value_or(default_delta_memory(parts.vm.memory().layout().bytes(), lanes)) / lanes;
}

std::uint64_t pages_sent(const LaneTotals& totals) {
  return totals.pages_data + totals.pages_zero;
}

/// Since the last harvest, because the next will be like it: what was sent before may have cost far more or less. All
/// pages that harvests count are counted, those too that did not travel.
double wire_bytes_per_page(const LaneTotals& since, const LaneTotals& totals) {
  const auto pages = totals.claimed() - since.claimed();
  if (pages > 0) return static_cast<double>(totals.bytes_wire - since.bytes_wire) / static_cast<double>(pages);
  if (totals.claimed() == 0) return static_cast<double>(kPageSize);
  return static_cast<double>(totals.bytes_wire) / static_cast<double>(totals.claimed());
}

}  // namespace

RamCopy::RamCopy(SourceContext& context, SinkSession& session)
    : context_(context),
      session_(session),
      board_(context.parts.vm.memory().layout().chunk_count()),
      sent_(board_.chunk_count()),
      left_out_(board_.chunk_count()),
      free_pages_(context.parts.free_pages, board_, left_out_, context.parts.clock),
      lane_setting_{.memory = context.parts.vm.memory(),
                    .board = board_,
                    .sent = sent_,
                    .left_out = left_out_,
                    .kernels = context.parts.kernels,
                    .clock = context.parts.clock,
                    .encoders = context.parts.encoders,
                    .shares = {context.parts.goals.lanes},
                    .codec = context.parts.goals.codec,
                    .deltas = {.key = context.parts.hash_key, .memory = delta_memory_of_a_lane(context.parts)},
                    .on_note = context.parts.on_note},
      lanes_(lane_setting_) {}

void RamCopy::use(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent) {
  context_.parts.goals.lanes = static_cast<unsigned>(channels.size());
  lane_setting_.shares = {context_.parts.goals.lanes, session_.chunks_in_a_row()};
  lane_setting_.deltas.memory = delta_memory_of_a_lane(context_.parts);
  for (auto& channel : channels) lanes_.add(std::move(channel));
  if (urgent) postcopy_.emplace(context_, session_, lane_setting_, lanes_, std::move(urgent));
}

void RamCopy::start_lanes() {
  lanes_.start([this](Error error) {
    // Of a path that drops large packets nobody need wait until it is back: it is there.
    const bool small_ones_pass = lanes_.never_got_through() && lanes_.are_first() && session_.is_fresh();
    if (small_ones_pass) return context_.fail_with(std::move(error));
    context_.lose_link(std::move(error));
  });
}

/// New lanes know nothing of what was sent before: of what is not on the board neither, so that nothing refers to a
/// page of which only part may have arrived.
void RamCopy::part() {
  confirm_what_is_applied();
  lanes_.retire();
  postcopy_.reset();
  unconfirmed_->take([this](ChunkIndex chunk, PageWord pages) {
    // Those that went as zeros, too, may have something else in them there.
    sent_.add(chunk, pages);
    board_.post(chunk, pages);
  });
  fences_.posted();
  rounds_.applied = false;
}

/// The guest need not wait for a link.
void RamCopy::part_from_lost_link() {
  slow_down(1);
  part();
}

Status RamCopy::join(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent) {
  begin_again(std::move(channels), std::move(urgent));
  // What was written meanwhile, all at once: the rounds that follow tell of a link that is there.
  return harvest();
}

void RamCopy::begin_again(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent) {
  use(std::move(channels), std::move(urgent));
  start_lanes();
  // Nobody answers what was asked for on the old connections.
  asked_at_ = now();
  lanes_.early_fence(fences_.early());
}

void RamCopy::hold() {
  lane_setting_.held.store(true, std::memory_order_release);
  lanes_.early_fence(fences_.early());
}

bool RamCopy::is_all_there() {
  confirm_what_is_applied();
  return confirmed_ == fences_.asked() && lanes_.idle();
}

void RamCopy::go_on_sending() {
  lane_setting_.held.store(false, std::memory_order_release);
  fences_.posted();
  board_.announce();
}

/// The round goes on as it was: the guest's memory is not looked at once more for this.
void RamCopy::change_lanes(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent) {
  lane_setting_.held.store(false, std::memory_order_release);
  begin_again(std::move(channels), std::move(urgent));
  // What a lane managed tells nothing of what so many others do.
  wire_rate_ = {};
  const auto totals = lanes_.totals();
  wire_rate_.add(Duration(totals.busy_ns), totals.bytes_wire);
}

LanesSeen RamCopy::lanes_seen() const {
  const auto& goals = context_.parts.goals;
  const auto totals = lanes_.totals();
  return {.elapsed = now() - context_.began,
          .lanes = goals.lanes,
          .bytes = totals.bytes_wire,
          .waited = Duration(totals.waited_ns),
          .left = to_send_what_waits(),
          .bound = goals.bandwidth ? goals.bandwidth->bytes_per_second() : 0};
}

Status RamCopy::start() {
  TRY(start_tracking());
  // Tracking first, then the look for data: whatever is written after the look is seen.
  std::vector<PageWord> data(board_.chunk_count());
  TRY(context_.parts.vm.memory().find_data(ChunkIndex{0}, data));
  TRY_IN("dirty tracking", context_.parts.tracker.copied_first(data));
  // With the data map the destination's memory changes; up to here it can take in another VM.
  TRY(context_.no_error_yet());
  TRY(send_data_map(data));
  const auto gibibytes = static_cast<std::int64_t>(context_.parts.vm.memory().layout().bytes() / kGiB);
  TRY(context_.until([](const SourceSignals& s) { return s.map_applied; },
                     kMapPatience + gibibytes * kMapPatiencePerGiB, "the destination to prepare its memory"));
  wire_rate_.add({}, 0);  // lanes may have sent all of a small guest before anybody looks again
  if (context_.link_patience > Duration::zero())
    lane_setting_.unconfirmed = &unconfirmed_.emplace(board_.chunk_count());
  start_lanes();
  context_.parts.on_milestone(Milestone::kMapped);
  post_all(data);
  return {};
}

/// Of what was sent before nobody knows here what became of it: nothing may refer to it.
void RamCopy::take_up(std::span<const PageWord> missing) {
  for (std::uint32_t c = 0; c < missing.size(); ++c) board_.post(ChunkIndex{c}, missing[c]);
  lane_setting_.whole_pages = true;
  wire_rate_.add({}, 0);
  postcopy_->take_up();
  start_lanes();
}

Status RamCopy::start_tracking() {
  auto& parts = context_.parts;
  // A disk request in flight while pages are armed for the first time would be reported by nobody.
  if (parts.quiesce_harvests) TRY(stop_for_a_moment());
  const Status tracking = parts.tracker.start(board_.chunk_count());
  if (parts.quiesce_harvests) TRY(go_on());
  if (!tracking) return fail(Error(tracking.error()).in("dirty tracking"));
  rounds_.harvested_at = now();
  parts.on_milestone(Milestone::kTracking);
  free_pages_.locate();
  return {};
}

Status RamCopy::send_data_map(const std::vector<PageWord>& data) {
  auto& control = session_.control();
  for (std::size_t first = 0; first < data.size(); first += kMapPiece) {
    const auto count = std::min(kMapPiece, data.size() - first);
    const auto begin = data.begin() + static_cast<std::ptrdiff_t>(first);
    TRY(control.send(wire::DataMap{ChunkIndex{static_cast<std::uint32_t>(first)},
                                   {begin, begin + static_cast<std::ptrdiff_t>(count)}}));
  }
  return control.send(wire::DataMapEnd{});
}

void RamCopy::post_all(const std::vector<PageWord>& data) {
  const auto& layout = context_.parts.vm.memory().layout();
  for (std::uint32_t c = 0; c < board_.chunk_count(); ++c) {
    board_.post(ChunkIndex{c}, data[c]);
    pages_skipped_ += page_count(layout.valid_pages(ChunkIndex{c}) & ~data[c]);
  }
  board_.announce();
}

Status RamCopy::step() {
  if (rounds_.applied && !stop_near_since_) rehearse_look();
  if (!stop_near_since_ && free_pages_.check_some(rounds_.applied ? kLookIntoInPeace : kLookInto)) {
    fences_.posted();
    rounds_.now.posted_again = true;
  }
  const auto totals = lanes_.totals();
  wire_rate_.add(Duration(totals.busy_ns), totals.bytes_wire);
  watch_fence(totals.bytes_wire);
  confirm_what_is_applied();
  ask_how_far_it_is();
  const bool applied = all_applied();
  rounds_.look(applied, board_.waiting(), context_.signals.look().fenced_at, totals.bytes_wire);
  rounds_.first_pass_over |= rounds_.harvests > 1 && lanes_.have_swept();
  const Sample now_is = sample();
  const Verdict verdict = decide(context_.parts.goals, now_is);
  if (const auto* give_up = std::get_if<GiveUp>(&verdict)) return fail(ErrorKind::kTimedOut, give_up->reason);
  const auto* slower = std::get_if<SlowDown>(&verdict);
  if (slower != nullptr && !stop_near_since_) slow_down(slower->share);
  const auto* postcopy = std::get_if<PostCopy>(&verdict);
  if (postcopy != nullptr && !is_early()) {
    if (!context_.begin(Steering::End::kPostcopy)) return {};
    context_.note("the guest will run at the destination before all of its memory is there: " + postcopy->reason);
    postcopy_->hold();
  }
  if (postcopy_ && !stop_near_since_ && postcopy_->can_tell_ahead()) TRY(tell_ahead());
  const Step before = std::exchange(next_, next_step(verdict, rounds_.now, now_is));
  if (next_ != before) log_verdict(now_is);
  return take(next_);
}

/// Where all has been applied, so that no round's time has it in it.
void RamCopy::rehearse_look() {
  free_pages_.rehearse();
  const Duration longest = context_.parts.goals.max_downtime;
  const Duration others = rounds_.scan.least().value_or(Duration{}) + given_back_took_;
  if (!free_pages_.give_up_if_slow(std::clamp(longest - others, Duration{}, longest / 2))) return;
  fences_.posted();
  rounds_.now.posted_again = true;
}

/// What the next harvest or the hand-over was decided by.
void RamCopy::log_verdict(const Sample& s) const {
  const auto& log = context_.parts.log;
  if (!log.on(LogLevel::kInfo)) return;
  log.info("verdict", {{"step", name_of(next_)},
                       {"predicted_pause", predict_pause(s).value_or(Duration{})},
                       {"drained", s.drained},
                       {"wire_bytes_per_second", s.wire_bytes_per_second},
                       {"wire_bytes_per_page", s.wire_bytes_per_page},
                       {"since_harvest", s.since_harvest}});
}

Status RamCopy::take(Step step) {
  if (step == Step::kHandOver || step == Step::kHandOverEarly) return {};
  const bool harvests = step != Step::kGoOn;
  rounds_.now = round_after(step, rounds_.now);
  if (step == Step::kHarvestNearStop) TRY(harvest_near_stop());
  if (step == Step::kHarvest || step == Step::kHarvestForAll) TRY(harvest());
  if (!stop_near_since_ && rounds_.now.leaves_out) free_pages_.withdraw(harvests);
  if (free_pages_.looked()) lane_setting_.spread.store(true, std::memory_order_relaxed);
  return harvests ? Status{} : settle();
}

/// A guest that cannot be slowed down is moved as well as can be.
void RamCopy::slow_down(double share) {
  if (share == share_) return;
  auto& parts = context_.parts;
  const Status slowed = parts.slow_guest ? parts.slow_guest(share) : fail(ErrorKind::kUnsupported, "no way is known");
  if (!slowed && share == 1) {
    // What holds still is undone when this process ends, at the latest; a later way out tries again.
    return context_.note("the guest is still slowed down: " + slowed.error().message);
  }
  if (!slowed) {
    context_.note("the guest cannot be slowed down: " + slowed.error().message);
    parts.goals.guest_slowdown = 0;
    if (parts.slow_guest) (void)parts.slow_guest(1);
  }
  const double now_has = slowed ? share : 1;
  if (slowed_since_) slowed_for_ += now() - *slowed_since_;
  slowed_since_ = now_has < 1 ? std::optional(now()) : std::nullopt;
  share_ = now_has;
  least_share_ = std::min(least_share_, share_);
  slowed_at_harvest_ = rounds_.harvests;
  parts.log.info("guest-share", {{"share", share_}});
}

/// vCPUs that have been added since are to be as slow as the others. The hypervisor may be asked for them, which a copy
/// cannot wait for while it is silent.
void RamCopy::keep_slow() {
  if (share_ == 1 || stop_near_since_ || context_.hypervisor_busy || now() - kept_slow_at_ < kKeepSlowEvery) return;
  kept_slow_at_ = now();
  const Status kept = context_.parts.slow_guest(share_);
  kept_slow_failed_ = kept ? 0 : kept_slow_failed_ + 1;
  if (kept_slow_failed_ < kKeepSlowTries) return;
  context_.note("the guest cannot be slowed down any more: " + kept.error().message);
  context_.parts.goals.guest_slowdown = 0;
  slow_down(1);
}

/// A guest that is slower than it may be now is given more at once; the autopilot takes away again what it must.
void RamCopy::follow_goals() {
  const double least = 1 - context_.parts.goals.guest_slowdown;
  if (share_ < least && !stop_near_since_) slow_down(least);
}

/// The guest runs on until what lies in the sockets has arrived, and what the sink misses has been taken away there, so
/// that its pause need not wait for that.
Status RamCopy::tell_ahead() {
  if (context_.parts.holes_may_appear) TRY(post_given_back());
  TRY(harvest());
  return postcopy_->tell_ahead();
}

/// Only of the latest fence, and when all lanes have sent it: no lane is at work on the words then.
void RamCopy::confirm_what_is_applied() {
  const auto asked = fences_.asked();
  if (!unconfirmed_ || confirmed_ == asked || context_.signals.look().fence < asked || !lanes_.have_sent(asked)) return;
  confirmed_ = asked;
  unconfirmed_->confirm();
}

/// While much is to be sent, which may take hours: what the sink tells of need not be sent again if the link is lost.
void RamCopy::ask_how_far_it_is() {
  const bool told = context_.signals.look().fence >= fences_.asked();
  if (!told || !unconfirmed_ || !context_.link.bears() || board_.waiting() == 0) return;
  if (now() - asked_at_ < kFenceEvery) return;
  asked_at_ = now();
  lanes_.early_fence(fences_.early());
}

bool RamCopy::all_applied() {
  if (is_early()) return false;
  if (board_.waiting() != 0 || !lanes_.idle()) return false;
  if (!stop_near_since_) {
    if (const auto fence = fences_.due()) {
      lanes_.fence(*fence);
      return false;
    }
  }
  return fences_.is_answered(context_.signals.look().fence);
}

void RamCopy::watch_fence(std::uint64_t bytes_sent) {
  if (lanes_.have_sent(fences_.asked())) fences_.sent(now(), bytes_sent);
  const auto signals = context_.signals.look();
  if (!fences_.answered(signals.fence, signals.fenced_at, rounds_.harvested_at)) return;
  lane_setting_.way_rate.store(fences_.bytes_per_ns() / context_.parts.goals.lanes, std::memory_order_relaxed);
}

/// As far as it can be told: a day, where nothing has been sent yet.
Duration RamCopy::to_send_what_waits() const {
  const Sample s = sample();
  const double bytes = static_cast<double>(board_.waiting()) * s.wire_bytes_per_page;
  if (bytes <= 0) return {};
  const double seconds = s.wire_bytes_per_second > 0 ? bytes / s.wire_bytes_per_second : kLongestRestSeconds;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(std::min(seconds, kLongestRestSeconds)));
}

/// Later rounds are short, or last until the guest writes less.
Duration RamCopy::time_left() const {
  // What is taken away there takes as long as it takes: only then is it worth while to prepare.
  if (is_early()) return postcopy_->ready() ? Duration{} : Duration::max();
  if (rounds_.first_pass_over) return {};
  const Sample now_is = sample();
  if (now_is.wire_bytes_per_second <= 0) return Duration::max();
  const double bytes = static_cast<double>(board_.waiting()) * now_is.wire_bytes_per_page;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(bytes / now_is.wire_bytes_per_second));
}

/// Many pages that were given back go first, while the guest runs: no prediction knows of them.
Result<bool> RamCopy::ready() {
  if (is_early()) return true;
  if (!context_.parts.holes_may_appear) return true;
  const auto begin = now();
  const auto posted = TRY(post_given_back());
  given_back_took_ = now() - begin;
  // Now it is known what that takes in the pause.
  return posted <= kFewPages && std::holds_alternative<SwitchOver>(decide(context_.parts.goals, sample()));
}

Status RamCopy::stop_is_near() {
  stop_near_since_ = now();
  free_pages_.give_up_locating();
  if (!is_early() || context_.parts.quiesce_harvests) return {};
  // What is written from here on is all that the pause has; this the sink takes away while the hypervisor stops.
  TRY(harvest_beside_stop());
  return postcopy_->tell_ahead();
}

/// vCPUs that are put aside would be late to stop. But those that are let go before they are to stop write in ten
/// milliseconds what a slowed guest writes in a second, and all of that would be sent in the pause.
void RamCopy::stop_is_ordered() {
  if (share_ == 1) return;
  context_.signals.await([](const SourceSignals& s) { return s.failed || s.stopping || s.stopped; }, kStopIsHeard);
  // To put all back takes long where there are many vCPUs: that waits for a time after the pause.
  const auto& lift = context_.parts.lift_slowdown;
  if (!lift || !lift()) return slow_down(1);
  slowed_for_ += now() - slowed_since_.value_or(now());
  slowed_since_.reset();
}

/// An engine that dies in between must leave a note that it was the one who stopped the guest.
Status RamCopy::stop_for_a_moment() {
  auto& parts = context_.parts;
  if (parts.vm.moves_paused()) return {};
  TRY(parts.journal.pausing());
  Status paused = parts.vm.pause();
  // Somebody else was a moment faster: that guest is moved as it is.
  if (paused || paused.error().kind != ErrorKind::kRefused || !context_.check_guest() || !parts.vm.moves_paused()) {
    return paused;
  }
  return parts.journal.begin();
}

Status RamCopy::go_on() {
  auto& parts = context_.parts;
  if (parts.vm.moves_paused()) return {};
  TRY(parts.vm.resume());
  return parts.journal.begin();
}

Status RamCopy::harvest() {
  const bool quiesce = context_.parts.quiesce_harvests;
  if (quiesce) TRY(stop_for_a_moment());
  rounds_.begun_with = lanes_.totals();  // before lanes can have sent what this harvest posts
  auto harvested = context_.parts.tracker.harvest(board_);
  if (quiesce) TRY(go_on());
  note_harvest(TRY_IN("dirty tracking", std::move(harvested)));
  keep_slow();
  return {};
}

/// Not where a harvest itself stops the guest: that would get in QEMU's way.
Status RamCopy::harvest_near_stop() {
  if (is_early() || context_.parts.quiesce_harvests) return {};
  return harvest_beside_stop();
}

/// Asks the hypervisor nothing, which may be silent by now.
Status RamCopy::harvest_beside_stop() {
  rounds_.begun_with = lanes_.totals();
  const auto stopping = [this] {
    const auto signals = context_.signals.look();
    return signals.stopping || signals.stopped || signals.failed;
  };
  note_harvest(TRY_IN("dirty tracking", context_.parts.tracker.harvest_near_stop(board_, stopping)));
  return {};
}

void RamCopy::note_harvest(const HarvestStats& stats) {
  if (stats.pages + stats.in_flight > 0) fences_.posted();
  const auto at = now();
  rounds_.harvested(stats, at);
  context_.parts.log.info("harvest", {{"number", rounds_.harvests},
                                      {"pages", stats.pages},
                                      {"deferred", stats.deferred},
                                      {"took", stats.took},
                                      {"waiting", board_.waiting()}});
  deferred_ = stats.deferred;
  settled_at_ = at;
  given_back_took_ -= given_back_took_ / 8;  // one look that was held up must not keep the guest here for ever
}

/// Pages of disk requests that have ended go now, while the guest runs, rather than in its pause.
Status RamCopy::settle() {
  if (deferred_ == 0 || stop_near_since_ || now() - settled_at_ < kSettleEvery) return {};
  settled_at_ = now();
  deferred_ = TRY(context_.parts.tracker.settle(board_));
  fences_.posted();
  return {};
}

Result<std::uint64_t> RamCopy::post_given_back() {
  GivenBack given_back(context_.parts.vm.memory(), sent_, board_);
  TRY(context_.parts.tracker.find_absent(given_back));
  const auto posted = given_back.posted();
  if (posted == 0) return posted;
  fences_.posted();
  pages_given_back_ += posted;
  board_.announce();
  return posted;
}

/// What the board holds in the end is not sent now: the sink is told what of it it does not know to miss.
Status RamCopy::freeze_early(Ledger& ledger) {
  const auto begin = now();
  note_harvest(TRY_IN("dirty tracking", context_.parts.tracker.harvest_last(board_)));
  free_pages_.post_taken_into_use();
  if (context_.parts.holes_may_appear) TRY(post_given_back());
  const auto harvested = now();
  ledger.enter("last harvest", begin, harvested);
  context_.gaps.begin(now());
  TRY(postcopy_->tell());
  ledger.enter("missing pages told", harvested, now());
  return {};
}

Status RamCopy::freeze(Ledger& ledger) {
  if (is_early()) return freeze_early(ledger);
  pages_before_pause_ = pages_sent(lanes_.totals());
  const auto begin = now();
  note_harvest(TRY_IN("dirty tracking", context_.parts.tracker.harvest_last(board_)));
  const auto harvested = now();
  ledger.enter("last harvest", begin, harvested);
  free_pages_.post_taken_into_use();
  // Where the operator has the guest paused until the rest has been sent, that may be all of its memory.
  const Duration rest = to_send_what_waits();
  board_.announce();
  if (context_.parts.holes_may_appear) {
    // Devices are loaded while this is looked for.
    lanes_.fence(kDevicesFence);
    TRY(post_given_back());
    ledger.enter("pages given back", harvested, now());
  }
  // From here on a stretch in which this process was stopped counts: the answer to this fence is the last sign of life
  // that must have been given after it.
  context_.gaps.begin(now());
  lanes_.fence(kLastFence);
  TRY(context_.until([](const SourceSignals& s) { return s.last_fence; },
                     context_.load_patience() + kRestMayTake * rest, "the destination to apply the last pages"));
  ledger.enter("last pages", harvested, context_.signals.look().fenced_at);
  return {};
}

void RamCopy::finish() noexcept {
  slow_down(1);
  (void)context_.parts.tracker.stop();
}

void RamCopy::cancel() noexcept {
  slow_down(1);
  if (postcopy_) postcopy_->abort();
  lanes_.abort();
}

Sample RamCopy::sample() const {
  const auto& parts = context_.parts;
  const auto at = now();
  const auto totals = lanes_.totals();
  const double busy_rate = wire_rate_.per_busy_second() * parts.goals.lanes;
  return Sample{
      .elapsed = at - context_.began,
      .drained = rounds_.applied && !free_pages_.has_unchecked(),
      .harvests = rounds_.harvests,
      .last_harvest = rounds_.last.pages,
      .last_interval = rounds_.interval,
      .harvest_before = rounds_.pages_before,
      .interval_before = rounds_.interval_before,
      .since_harvest = at - rounds_.harvested_at,
      .deferred = deferred_,
      .wire_bytes_per_second = rounds_.rate > 0 ? std::min(rounds_.rate, busy_rate) : busy_rate,
      .wire_bytes_per_page = wire_bytes_per_page(rounds_.begun_with, totals),
      .scan = rounds_.scan.least().value_or(Duration{}),
      .rechecks = given_back_took_ + free_pages_.look_takes(),
      .device_bytes = parts.vm.expected_device_bytes(),
      .ram_pages = parts.vm.memory().layout().bytes() / kPageSize,
      .first_pass_over = rounds_.first_pass_over,
      .paused = parts.vm.moves_paused(),
      .share = share_,
      .harvests_at_share = rounds_.harvests - slowed_at_harvest_,
      .early = is_early(),
      .handing_over = stop_near_since_.has_value(),
      .since_handover = stop_near_since_ ? at - *stop_near_since_ : Duration{},
  };
}

void RamCopy::show(Progress& p, const Sample& s) const {
  const auto totals = lanes_.totals();
  p.ram_bytes = s.ram_pages * kPageSize;
  p.guest_share = share_;
  p.pages_left = board_.waiting();
  p.bytes_left = p.pages_left * kPageSize;
  p.bytes_sent += totals.bytes_wire;
  if (postcopy_) p.bytes_sent += postcopy_->urgent_bytes();
  p.pages_sent = pages_sent(totals);
  const auto interval = std::chrono::duration<double>(s.last_interval).count();
  if (interval > 0) p.dirty_pages_per_second = static_cast<double>(s.last_harvest) / interval;
  if (totals.pages_data > 0) {
    p.compression = static_cast<double>(totals.pages_data * kPageSize) / static_cast<double>(totals.bytes_wire);
  }
}

CopyFacts RamCopy::facts() const {
  const auto totals = lanes_.totals();
  const auto& layout = context_.parts.vm.memory().layout();
  const auto data = layout.bytes() / kPageSize - pages_skipped_ - free_pages_.pages();
  const auto sent_first = pages_sent(totals) - totals.pages_resent;
  return {.data_pages = static_cast<double>(data),
          .first_left = static_cast<double>(data - std::min(data, sent_first)),
          .waiting = static_cast<double>(board_.waiting()),
          .pages_sent = static_cast<double>(totals.claimed()),
          .bytes_sent = static_cast<double>(totals.bytes_wire),
          .handover = context_.parts.vm.preparation()};
}

void RamCopy::account(Report& r) const {
  const auto totals = lanes_.totals();
  r.codec = lane_setting_.codec ? format_codec(*lane_setting_.codec) : "auto";
  r.lanes = lane_setting_.shares.lanes;
  r.kernels = lane_setting_.kernels.name;
  r.ram_bytes = context_.parts.vm.memory().layout().bytes();
  r.LaneSums::operator=(totals);
  r.pages_skipped = pages_skipped_;
  if (pages_before_pause_) r.pages_in_pause = pages_sent(totals) - *pages_before_pause_;
  r.pages_free = free_pages_.pages();
  r.free_pages = free_pages_.finding();
  r.pages_discarded = pages_given_back_;
  for (const auto& use : lanes_.codecs()) {
    if (use.blocks == 0) continue;
    const bool raw = use.codec.id == CodecId::kRaw;
    (raw ? r.bytes_raw : r.bytes_compressed) += use.bytes_after;
    if (!raw) r.bytes_before_compression += use.bytes_before;
    r.codecs.push_back({format_codec(use.codec), use.blocks, use.bytes_before, use.bytes_after});
  }
  r.bytes_lanes = totals.bytes_wire;
  if (is_early()) {
    r.postcopy = true;
    r.pages_missing = postcopy_->missing();
    r.pages_asked_for = postcopy_->asked_for();
    r.pages_urgent = postcopy_->urgent_pages();
    r.bytes_lanes += postcopy_->urgent_bytes();
  }
  r.harvests = rounds_.harvests;
  r.least_share = least_share_;
  r.slowed_for = slowed_for_;
}

}  // namespace godwit
