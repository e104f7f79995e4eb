#include "engine/source_migration.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "engine/delta_memory.h"
#include "engine/fence.h"
#include "engine/gave_up.h"
#include "engine/lost_packets.h"

namespace godwit {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How often the coordinator looks around while lanes work.
constexpr Duration kTick = milliseconds(5);
// How long a tick looks into pages that were left out: beside lanes that are at work, and when all else is done.
constexpr Duration kLookInto = milliseconds(5);
constexpr Duration kLookIntoInPeace = milliseconds(50);
// A look at the disks' queues costs QEMU about a millisecond.
constexpr Duration kSettleEvery = milliseconds(20);
// Rarer than the hand-over of a VM with shared RAM takes: a harvest that meets the guest's stop lengthens the pause.
constexpr Duration kHarvestInHandover = milliseconds(250);
// A shorter round says more about this thread's ticks than about the link.
constexpr Duration kWorthTiming = milliseconds(20);
constexpr Duration kShowEvery = milliseconds(100);
// The sink answers Hello at once; clearing its memory and loading devices may take longer on large VMs.
constexpr Duration kGreetingPatience = seconds(10);
constexpr Duration kMapPatience = seconds(120);
// Memory that was preallocated is looked at page by page, and stale pages are cleared.
constexpr Duration kMapPatiencePerGiB = milliseconds(500);
// Beyond what the pause may take.
constexpr Duration kLoadPatience = seconds(60);
// A guest that stands because its hypervisor waits for a disk is not kept standing for a move.
constexpr Duration kDiskPatience = seconds(5);
constexpr Duration kRemindEvery = seconds(5);
// Saving devices takes milliseconds, and flushing disks or a slow link some more.
constexpr Duration kSavePatience = seconds(20);
// Since the sink was last heard of: it may have to try for a while until its hypervisor lets the guest run.
constexpr Duration kDonePatience = seconds(30);
constexpr Duration kLookAgain = milliseconds(200);
// The sink beats once a second. A prepared sink that was not heard for longer may have given up, or this process stood
// still.
constexpr Duration kFreshness = milliseconds(2500);
// What lay in the socket is read in microseconds, or by a thread that has to wait for its CPU in some ten milliseconds.
// A message that took longer came while this process ran: a sink that lives sends one within a second.
constexpr Duration kAwaited = milliseconds(300);
// How long the goodbye to a sink may hold back what comes after it.
constexpr Duration kGoodbyePatience = milliseconds(500);
// So long a look at the VM's disks and devices, which takes a millisecond, is good enough for a commit.
constexpr Duration kLookIsFresh = milliseconds(20);
constexpr Duration kLookIsCheap = milliseconds(5);
// So many are sent within a millisecond or two.
constexpr std::uint64_t kFewPages = 1024;
constexpr std::size_t kMapPiece = 32768;  // chunks a DataMap message

std::uint64_t delta_memory_of_a_lane(const SourceParts& parts) {
  const auto lanes = parts.goals.lanes;
  return parts.goals.delta_memory.value_or(default_delta_memory(parts.vm.memory().layout().bytes(), lanes)) / lanes;
}

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

SourceMigration::SourceMigration(SourceParts parts)
    : parts_(std::move(parts)),
      began_(parts_.clock.now()),
      board_(parts_.vm.memory().layout().chunk_count()),
      sent_(board_.chunk_count()),
      left_out_(board_.chunk_count()),
      free_pages_(parts_.free_pages, board_, left_out_, parts_.clock),
      lane_setting_{.memory = parts_.vm.memory(),
                    .board = board_,
                    .sent = sent_,
                    .left_out = left_out_,
                    .kernels = parts_.kernels,
                    .clock = parts_.clock,
                    .encoders = parts_.encoders,
                    .lanes = parts_.goals.lanes,
                    .codec = parts_.goals.codec,
                    .deltas = {.key = parts_.hash_key, .memory = delta_memory_of_a_lane(parts_)},
                    .on_note = parts_.on_note},
      lanes_(lane_setting_) {}

SourceMigration::~SourceMigration() {
  lanes_.abort();
  if (control_channel_) control_channel_->abort();
}

Report SourceMigration::run() {
  std::stop_callback on_cancel(parts_.cancelled, [this] {
    bool in_time = false;
    signals_.change([&](SourceSignals& s) {
      in_time = !s.committing;
      if (!in_time) return;
      error_.report(Error{ErrorKind::kCancelled, "cancelled by the operator"});
      s.failed = true;
    });
    if (!in_time) return;
    parts_.vm.interrupt();
    // Before Welcome nobody else could wake the coordinator.
    if (control_ready_ && !welcomed_) control_channel_->abort();
  });
  Status status = up_to_prepared();
  if (!status) return roll_back(std::move(status).error());
  return commit();
}

Status SourceMigration::up_to_prepared() {
  TRY(connect());
  TRY(start_tracking());
  TRY(copy_until_stopped());
  TRY(last_pages());
  return await_prepared();
}

Status SourceMigration::connect() {
  enter(Phase::kConnecting);
  control_channel_ = TRY(parts_.connect());
  control_ready_ = true;
  if (parts_.cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
  control_channel_->set_receive_timeout(kGreetingPatience);
  wire::Greeting greeting{.role = wire::Role::kControl, .secret = TRY(wire::random_secret())};
  TRY(wire::send_greeting(*control_channel_, greeting));
  control_.emplace(*control_channel_);
  parts_.on_milestone(Milestone::kConnected);
  auto lanes = TRY(open_lanes(parts_.connect, greeting.secret, parts_.goals.lanes));
  if (parts_.cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
  const auto opened = static_cast<std::uint16_t>(lanes.channels.size());
  TRY(control_->send(wire::Hello{.fingerprint = parts_.vm.fingerprint(),
                                 .lanes = opened,
                                 .program = parts_.program,
                                 .open_lanes = opened,
                                 .paused = parts_.vm.starts_paused()}));
  auto answer = TRY(await_welcome());
  if (auto* refusal = std::get_if<wire::Refusal>(&answer)) {
    return fail(ErrorKind::kRefused, "the destination refuses this VM: " + refusal->reason);
  }
  if (auto* abort = std::get_if<wire::Abort>(&answer)) return fail(why_the_sink_gave_up(*abort));
  auto* welcome = std::get_if<wire::Welcome>(&answer);
  if (welcome == nullptr) return fail(ErrorKind::kProtocol, "the destination answered Hello with another message");
  if (parts_.vm.starts_paused() && !welcome->keeps_paused) {
    return fail(ErrorKind::kRefused, "the VM is paused, and the destination's godwit is too old to keep it paused");
  }
  welcomed_ = true;
  sink_version_ = welcome->fingerprint.version;
  for (const auto& warning : welcome->warnings) {
    if (parts_.on_note) parts_.on_note("warning, from the destination: " + warning);
  }
  control_channel_->set_receive_timeout(kPeerDeadAfter);
  heartbeat_.emplace(*control_);
  control_reader_ = std::jthread([this] { read_control(); });
  TRY(take_lanes(std::move(lanes), welcome->lanes));
  parts_.on_milestone(Milestone::kWelcomed);
  return {};
}

Result<wire::Message> SourceMigration::await_welcome() {
  auto answer = control_->receive();
  if (answer) return answer;
  Error error = std::move(answer).error().in("no welcome from the destination");
  // That the link is up shows another connection.
  if (stuck_at_the_first_large_one(*control_channel_, error) && parts_.connect()) {
    error = Error{ErrorKind::kPeerLost, std::string(kMtuHint), error.os_error}.in("no welcome from the destination");
  }
  // A connection that has fallen silent is the link's fault or the peer's, no matter of how long a move may take.
  if (error.kind == ErrorKind::kTimedOut) error.kind = ErrorKind::kPeerLost;
  return fail(std::move(error));
}

/// Those that the sink has found open; lanes are numbered by their order from here on.
Status SourceMigration::take_lanes(OpenedLanes opened, const std::optional<std::vector<std::uint16_t>>& arrived) {
  std::vector<std::unique_ptr<Channel>> channels;
  if (arrived) {
    if (arrived->empty() || arrived->back() >= opened.channels.size()) {
      return fail(ErrorKind::kProtocol, "the destination names lanes that were not opened");
    }
    for (const auto number : *arrived) channels.push_back(std::move(opened.channels[number]));
  } else {
    channels = std::move(opened.channels);
  }
  const auto asked_for = parts_.goals.lanes;
  parts_.goals.lanes = lane_setting_.lanes = static_cast<unsigned>(channels.size());
  lane_setting_.deltas.memory = delta_memory_of_a_lane(parts_);
  for (auto& channel : channels) lanes_.add(std::move(channel));
  if (parts_.goals.lanes < asked_for && parts_.on_note) {
    const std::string why = opened.failures.empty() ? "the others were lost on the way" : opened.failures;
    parts_.on_note(fmt::format("{} of {} lanes could be opened; the move goes on with these ({})", parts_.goals.lanes,
                               asked_for, why));
  }
  return {};
}

Status SourceMigration::start_tracking() {
  enter(Phase::kTracking);
  // A disk request in flight while pages are armed for the first time would be reported by nobody.
  if (parts_.quiesce_harvests) TRY(stop_for_a_moment());
  const Status tracking = parts_.tracker.start();
  if (parts_.quiesce_harvests) TRY(go_on());
  if (!tracking) return fail(Error(tracking.error()).in("dirty tracking"));
  harvested_at_ = now();
  parts_.on_milestone(Milestone::kTracking);
  free_pages_.locate();

  // Tracking first, then the look for data: whatever is written after the look is seen.
  std::vector<PageWord> data(board_.chunk_count());
  TRY(parts_.vm.memory().find_data(ChunkIndex{0}, data));
  // With the data map the destination's memory changes; up to here it can take in another VM.
  if (auto error = error_.get()) return fail(*error);
  TRY(send_data_map(data));
  const auto gibibytes = static_cast<std::int64_t>(parts_.vm.memory().layout().bytes() / kGiB);
  TRY(until([](const SourceSignals& s) { return s.map_applied; }, kMapPatience + gibibytes * kMapPatiencePerGiB,
            "the destination to prepare its memory"));
  wire_rate_.add({}, 0);  // lanes may have sent all of a small guest before anybody looks again
  lanes_.start(error_, [this] { signals_.change([](SourceSignals& s) { s.failed = true; }); });
  parts_.on_milestone(Milestone::kMapped);
  const auto& layout = parts_.vm.memory().layout();
  for (std::uint32_t c = 0; c < board_.chunk_count(); ++c) {
    board_.post(ChunkIndex{c}, data[c]);
    pages_skipped_ += page_count(layout.valid_pages(ChunkIndex{c}) & ~data[c]);
  }
  board_.announce();
  return {};
}

Status SourceMigration::send_data_map(std::vector<PageWord>& data) {
  for (std::size_t first = 0; first < data.size(); first += kMapPiece) {
    const auto count = std::min(kMapPiece, data.size() - first);
    const auto begin = data.begin() + static_cast<std::ptrdiff_t>(first);
    TRY(control_->send(wire::DataMap{ChunkIndex{static_cast<std::uint32_t>(first)},
                                     {begin, begin + static_cast<std::ptrdiff_t>(count)}}));
  }
  return control_->send(wire::DataMapEnd{});
}

Status SourceMigration::copy_until_stopped() {
  enter(Phase::kCopying);
  parts_.on_milestone(Milestone::kCopying);
  while (true) {
    const auto signals = signals_.await([](const SourceSignals& s) { return s.failed || s.stopped; }, kTick);
    if (auto error = error_.get()) return fail(*error);
    if (signals.stopped) return {};
    if (signals.stopping) {
      // Nothing is begun now that the stop would have to wait for.
      if (phase_ != Phase::kPaused) enter(Phase::kPaused);
      TRY(check_guest());
      TRY(check_disks(signals));
    } else {
      TRY(pilot());
    }
    if (now() - shown_at_ >= kShowEvery) show_progress();
  }
}

/// A guest may shut down, crash or be paused by somebody else at any time: then it is not moved any further.
Status SourceMigration::check_guest() {
  const auto halt = parts_.vm.halted();
  if (!halt) return {};
  return fail(halt->kind == Halt::Kind::kEnded ? ErrorKind::kHypervisor : ErrorKind::kRefused, halt->what);
}

/// The guest's CPUs stand, and the hypervisor waits for disk requests to end.
Status SourceMigration::check_disks(const SourceSignals& signals) {
  const auto since = now() - *signals.stopping;
  if (since < std::max(kDiskPatience, parts_.goals.max_downtime)) return {};
  return fail(ErrorKind::kTimedOut,
              fmt::format("QEMU has waited {} for its disks to finish their requests, with the guest paused: the move "
                          "was given up, and the guest runs on as soon as they have",
                          format_duration(since)));
}

Duration SourceMigration::load_patience() const {
  return kLoadPatience + 2 * parts_.goals.max_downtime;
}

Status SourceMigration::pilot() {
  TRY(check_guest());
  if (!handing_over_ && free_pages_.settle_doubts(applied_ ? kLookIntoInPeace : kLookInto)) {
    posted_since_fence_ = posted_again_ = true;
  }
  const auto totals = lanes_.totals();
  wire_rate_.add(Duration(totals.busy_ns), totals.bytes_wire);
  watch_fence(totals.bytes_wire);
  const bool was_applied = applied_;
  applied_ = all_applied();
  first_pass_over_ |= applied_ || (harvests_ > 1 && board_.waiting() <= last_harvest_.pages);
  if (applied_ && !was_applied && harvests_ > 0) {
    // What the lanes have got rid of may lie in the kernel still: only the sink's answer tells what the link takes.
    const auto took = signals_.look().fenced_at - harvested_at_;
    round_rate_ = took < kWorthTiming ? 0
                                      : static_cast<double>(totals.bytes_wire - round_.bytes_wire) /
                                            std::chrono::duration<double>(took).count();
  }
  const Sample now_is = sample();
  const Verdict verdict = decide(parts_.goals, now_is);
  if (const auto* give_up = std::get_if<GiveUp>(&verdict)) return fail(ErrorKind::kTimedOut, give_up->reason);
  // Pages posted again are mostly of one value: a round in which some went tells too little of what others cost. So one
  // more follows in which none are left out, and that can end in the hand-over.
  const bool once_more = std::holds_alternative<SwitchOver>(verdict) && !handing_over_ && posted_again_;
  if (std::holds_alternative<SwitchOver>(verdict) && !handing_over_ && !once_more) {
    // Many pages that were given back go first, while the guest runs: no prediction knows of them.
    if (parts_.holes_may_appear) {
      const auto begin = now();
      const auto posted = TRY(post_given_back());
      given_back_took_ = now() - begin;
      // Now it is known what that takes in the pause.
      if (posted > kFewPages || !std::holds_alternative<SwitchOver>(decide(parts_.goals, sample()))) return {};
    }
    return start_handover();
  }
  // While QEMU gets ready to stop, harvests go on, so that little is left for the pause.
  const bool due = handing_over_ ? now_is.since_harvest >= kHarvestInHandover
                                 : once_more || std::holds_alternative<Harvest>(verdict);
  if (due) {
    leave_out_ = !once_more;
    posted_again_ = false;
  }
  if (due && handing_over_) TRY(harvest_near_stop());
  if (due && !handing_over_) TRY(harvest());
  if (!handing_over_ && leave_out_) free_pages_.withdraw(due);
  if (free_pages_.looked()) lane_setting_.spread.store(true, std::memory_order_relaxed);
  return due ? Status{} : settle();
}

/// An empty board is not enough: megabytes may still lie in sockets, and would be waited for in the pause. So a fence
/// follows whatever was posted, and the sink says when it has applied all before it.
bool SourceMigration::all_applied() {
  if (board_.waiting() != 0 || !lanes_.idle()) return false;
  if (posted_since_fence_ && !handing_over_) {
    posted_since_fence_ = false;
    lanes_.fence(++fence_);
    return false;
  }
  return signals_.look().fence >= fence_;
}

/// What lies in a proxy or a tunnel shows nowhere but in how long the answer to a fence takes.
void SourceMigration::watch_fence(std::uint64_t bytes_sent) {
  if (fence_out_ != fence_ && lanes_.have_sent(fence_)) {
    fence_out_ = fence_;
    fence_out_at_ = now();
    bytes_of_round_ = bytes_sent - bytes_until_fence_;
    bytes_until_fence_ = bytes_sent;
  }
  const auto signals = signals_.look();
  if (fence_out_ != fence_ || signals.fence < fence_ || bytes_of_round_ == 0) return;
  fence_rate_.add(bytes_of_round_, std::max(Duration::zero(), signals.fenced_at - fence_out_at_),
                  signals.fenced_at - harvested_at_);
  bytes_of_round_ = 0;
  lane_setting_.way_rate.store(fence_rate_.bytes_per_ns() / parts_.goals.lanes, std::memory_order_relaxed);
}

Status SourceMigration::start_handover() {
  TRY(parts_.vm.check_unchanged());
  enter(Phase::kHandingOver);
  handing_over_ = true;
  handover_began_ = now();
  free_pages_.give_up_locating();
  if (parts_.lift_rate_limit) parts_.lift_rate_limit();
  relay_.emplace(*control_, signals_, error_, parts_.clock, parts_.goals.max_downtime);
  // A guest that was paused before is none that the next engine should let run if this one dies.
  if (!parts_.vm.starts_paused()) TRY(parts_.journal.handing_over());
  parts_.on_milestone(Milestone::kHandingOver);
  return parts_.vm.start_handover(*relay_, parts_.goals.max_downtime);
}

/// An engine that dies in between must leave a note that it was the one who stopped the guest.
Status SourceMigration::stop_for_a_moment() {
  if (parts_.vm.starts_paused()) return {};
  TRY(parts_.journal.pausing());
  return parts_.vm.pause();
}

Status SourceMigration::go_on() {
  if (parts_.vm.starts_paused()) return {};
  TRY(parts_.vm.resume());
  return parts_.journal.begin();
}

Status SourceMigration::harvest() {
  const bool quiesce = parts_.quiesce_harvests;
  if (quiesce) TRY(stop_for_a_moment());
  round_ = lanes_.totals();  // before lanes can have sent what this harvest posts
  auto harvested = parts_.tracker.harvest(board_);
  if (quiesce) TRY(go_on());
  const auto stats = TRY_IN("dirty tracking", std::move(harvested));
  return note_harvest(stats);
}

/// Not where a harvest itself stops the guest: that would get in QEMU's way.
Status SourceMigration::harvest_near_stop() {
  if (parts_.quiesce_harvests) return {};
  round_ = lanes_.totals();
  const auto stopping = [this] {
    const auto signals = signals_.look();
    return signals.stopping || signals.stopped || signals.failed;
  };
  return note_harvest(TRY_IN("dirty tracking", parts_.tracker.harvest_near_stop(board_, stopping)));
}

Status SourceMigration::note_harvest(const HarvestStats& stats) {
  last_harvest_ = stats;
  deferred_ = stats.deferred;
  if (stats.pages + stats.in_flight > 0) posted_since_fence_ = true;
  const auto at = now();
  settled_at_ = at;
  harvest_interval_ = at - harvested_at_;
  harvested_at_ = at;
  given_back_took_ -= given_back_took_ / 8;  // one look that was held up must not keep the guest here for ever
  ++harvests_;
  return {};
}

/// Pages of disk requests that have ended go now, while the guest runs, rather than in its pause.
Status SourceMigration::settle() {
  if (deferred_ == 0 || handing_over_ || now() - settled_at_ < kSettleEvery) return {};
  settled_at_ = now();
  deferred_ = TRY(parts_.tracker.settle(board_));
  posted_since_fence_ = true;
  return {};
}

/// Pages that the sink holds with content and that the guest has given back since: they go as zeros. A page that is in
/// the hypervisor's page table has not been given back; only of the others the file is asked, which takes longer.
Result<std::uint64_t> SourceMigration::post_given_back() {
  absent_.resize(board_.chunk_count());
  for (std::uint32_t c = 0; c < board_.chunk_count(); ++c) absent_[c] = sent_.of(ChunkIndex{c});
  TRY(parts_.tracker.find_absent(absent_));
  const auto first = std::ranges::find_if(absent_, [](PageWord suspects) { return suspects != 0; });
  if (first == absent_.end()) return std::uint64_t{0};
  const auto begin = static_cast<std::uint32_t>(first - absent_.begin());
  TRY(parts_.vm.memory().keep_holes(ChunkIndex{begin}, std::span(first, absent_.end())));
  std::uint64_t posted = 0;
  for (std::uint32_t c = begin; c < board_.chunk_count(); ++c) {
    const PageWord given_back = absent_[c];
    if (given_back == 0) continue;
    posted_since_fence_ = true;
    board_.post(ChunkIndex{c}, given_back);
    posted += page_count(given_back);
  }
  pages_given_back_ += posted;
  board_.announce();
  return posted;
}

Status SourceMigration::last_pages() {
  enter(Phase::kPaused);
  pages_before_pause_ = lanes_.totals().pages_data + lanes_.totals().pages_zero;
  parts_.on_milestone(Milestone::kStopped);
  const auto begin = now();
  const auto last = TRY_IN("dirty tracking", parts_.tracker.harvest_last(board_));
  TRY(note_harvest(last));
  const auto harvested = now();
  ledger_.enter("last harvest", begin, harvested);
  free_pages_.post_taken_into_use();
  board_.announce();
  if (parts_.holes_may_appear) {
    // Devices are loaded while this is looked for.
    lanes_.fence(kDevicesFence);
    TRY(post_given_back());
    ledger_.enter("pages given back", harvested, now());
  }
  // From here on a stretch in which this process stood still counts: the answer to this fence is the last sign of life
  // that must have been given after it.
  looked_at_ = now();
  stood_still_ = false;
  lanes_.fence(kLastFence);
  TRY(until([](const SourceSignals& s) { return s.last_fence; }, load_patience(),
            "the destination to apply the last pages"));
  ledger_.enter("last pages", harvested, signals_.look().fenced_at);
  parts_.on_milestone(Milestone::kFenced);
  return {};
}

Status SourceMigration::await_prepared() {
  TRY(until([](const SourceSignals& s) { return s.stream_ended.has_value(); },
            kSavePatience + 2 * parts_.goals.max_downtime,
            "the source's QEMU to save its devices and flush its disks"));
  parts_.on_milestone(Milestone::kDevicesSent);
  // While the destination loads them: this costs no time of the pause.
  const auto looking = now();
  TRY(parts_.vm.check_unchanged());
  const auto looked = now();
  TRY(until([](const SourceSignals& s) { return s.prepared; }, load_patience(), "the destination to load the devices"));
  // A pause that has been long already leaves an operator more time for changes, and a millisecond more is little of
  // it. Where the hypervisor hardly gets a CPU a look would take a hundred.
  if (now() - looked > kLookIsFresh && looked - looking < kLookIsCheap) TRY(parts_.vm.check_unchanged());
  const auto signals = signals_.look();
  ledger_.enter("devices saved", *signals.stopped, *signals.stream_ended);
  ledger_.enter("devices loaded", std::max(*signals.stream_ended, *signals.devices_fenced_at), signals.prepared_at);
  parts_.on_milestone(Milestone::kPrepared);
  return {};
}

/// The coordinator looks at least every kShowEvery: if it did not, this process stood still.
void SourceMigration::look_at_the_clock() {
  const auto at = now();
  if (at - looked_at_ >= kFreshness) stood_still_ = true;
  looked_at_ = at;
}

/// This process may itself have stood still while the sink gave up. Whatever is read from the socket then may be old,
/// Prepared too, and the sink's last word lie behind it; only a message that has to be waited for is a sign of life.
Status SourceMigration::hear_the_sink() {
  look_at_the_clock();
  if (!stood_still_ && now() - signals_.look().heard_at < kFreshness) return {};
  const auto since = now();
  const auto signals =
      signals_.await([&](const SourceSignals& s) { return s.failed || s.awaited_since > since; }, kPeerDeadAfter);
  if (auto error = error_.get()) return fail(*error);
  if (signals.awaited_since > since) return {};
  return fail(ErrorKind::kPeerLost, "the destination has fallen silent");
}

Report SourceMigration::commit() {
  if (Status heard = hear_the_sink(); !heard) return roll_back(std::move(heard).error());
  if (Status fit = check_guest(); !fit) return roll_back(std::move(fit).error());
  const auto begin = now();
  // One moment decides between a failure or the operator's cancelling and the commit.
  bool failed = false;
  // A lane reports its error before it says that there is one.
  signals_.change([&](SourceSignals& s) { failed = s.failed || error_.get(), s.committing = !failed; });
  if (failed) return roll_back(error_.get().value_or(Error{ErrorKind::kPeerLost, "the connection is gone"}));
  if (!parts_.vm.stands()) {
    return roll_back(Error{ErrorKind::kRefused, "somebody else let the guest run again at the source"});
  }
  // The hypervisor's word of it may not have reached the relay yet.
  if (Status unchanged = parts_.vm.told_of_no_change(); !unchanged) return roll_back(std::move(unchanged).error());
  if (Status journaled = parts_.journal.commit(); !journaled) {
    return roll_back(std::move(journaled).error().in("the commit could not be journaled"));
  }
  // From here on the source VM never runs again, unless the sink is certain that it never ran there and never will.
  parts_.on_milestone(Milestone::kCommitted);
  const auto committed = now();
  ledger_.enter("journaled", begin, committed);
  Status sent = control_->send(wire::Commit{});
  enter(Phase::kCommitted);
  if (sent) {
    const auto signals = await_done(committed);
    if (signals.done) {
      ledger_.enter("resumed", committed, signals.done_at);
      if (!parts_.vm.starts_paused()) pause_ = signals.done_at - signals.pause_began();
      parts_.on_milestone(Milestone::kDone);
      enter(Phase::kDone);
      Report moved = report(Outcome::kDone, std::nullopt);
      if (parts_.on_moved) parts_.on_moved(moved);
      (void)parts_.vm.finish();
      (void)parts_.tracker.stop();
      return moved;
    }
    if (signals.never_ran) {
      // On record first: whoever finds this guest from here on may let it run.
      const Status taken_back = parts_.journal.take_back();
      Error error = *error_.get();
      if (!taken_back) error.message += "; the journal could not be told: " + taken_back.error().message;
      return roll_back(std::move(error));
    }
    sent = signals.failed ? Status(fail(error_.get().value_or(Error{ErrorKind::kPeerLost, "the connection is gone"})))
                          : Status(fail(ErrorKind::kTimedOut, "the destination did not answer"));
  }
  // Its threads speak to what ends with this object.
  (void)parts_.vm.finish();
  return report(Outcome::kInDoubt, std::move(sent).error().in("committed, but not confirmed by the destination"));
}

SourceSignals SourceMigration::await_done(Instant committed) {
  bool told = false;
  while (true) {
    if (!told && !parts_.vm.can_take_back()) {
      told = true;
      // It cannot undo the commit. It tells a sink that has trouble that what it holds is the only copy.
      (void)control_->send(wire::Abort{std::string(name_of(ErrorKind::kHypervisor)), "the source's QEMU has ended"});
    }
    const auto signals = signals_.await([](const SourceSignals& s) { return s.done || s.failed; }, kLookAgain);
    if (signals.done || signals.failed) return signals;
    if (now() - std::max(committed, signals.heard_at) >= kDonePatience) return signals;
  }
}

Report SourceMigration::roll_back(Error error) {
  // The first error is the cause; the one that a step came back with may be its consequence.
  if (auto first = error_.get()) error = *first;
  // Large messages go by the lanes, heartbeats by the control connection: the link is up.
  if (lanes_.never_got_through() && now() - signals_.look().heard_at < kFreshness) {
    error.message += fmt::format("; {}", kMtuHint);
  }
  if (const auto halt = parts_.vm.halted()) error = caused_by(*halt, std::move(error));
  enter(Phase::kRollingBack);
  if (control_) say_goodbye(error);
  const Status rolled_back = let_source_go_on();
  (void)parts_.tracker.stop();
  // The guest runs: there is time now to let the sink read why, before the connection is cut.
  signals_.await([](const SourceSignals& s) { return s.closed; }, kGoodbyePatience);
  if (control_channel_) control_channel_->abort();
  // Of a guest that is only paused, the record stays where it is not certain that it was left as it should be.
  if (const auto halt = parts_.vm.halted(); halt && (rolled_back || halt->kind == Halt::Kind::kEnded)) {
    parts_.journal.clear();
    return report(outcome_of(*halt), caused_by(*halt, std::move(error)));
  }
  if (!rolled_back) {
    error.message += "; and the source VM could not be let run again: " + rolled_back.error().message;
    return report(Outcome::kSourceStopped, std::move(error));
  }
  parts_.journal.clear();
  return report(Outcome::kSourceRuns, std::move(error));
}

/// A hypervisor that waits for its disks does not answer before they return, and that is waited for: somebody may be
/// able to do something about them.
Status SourceMigration::let_source_go_on() {
  Mailbox<bool> over;
  std::jthread reminder([&] {
    while (!over.await([](bool o) { return o; }, kRemindEvery)) {
      if (!parts_.on_note) continue;
      parts_.on_note(
          "QEMU does not answer: it waits for its disks, as a rule, or is stopped itself. The guest at the source runs "
          "on as soon as it answers.");
    }
  });
  const Status rolled_back = parts_.vm.roll_back();
  over.change([](bool& o) { o = true; });
  return rolled_back;
}

/// Tells a sink that can still hear why; a connection that is stuck must not keep the guest standing.
void SourceMigration::say_goodbye(const Error& error) {
  if (parts_.lift_rate_limit) parts_.lift_rate_limit();
  const auto halt = parts_.vm.halted();
  const std::string kind(halt ? name_of(outcome_of(*halt)) : name_of(error.kind));
  Mailbox<bool> said;
  std::jthread goodbye([&] {
    if (!signals_.look().closed) (void)control_->send(wire::Abort{kind, error.message});
    (void)control_channel_->finish_sending();
    said.change([](bool& s) { s = true; });
  });
  if (!said.await([](bool s) { return s; }, kGoodbyePatience)) control_channel_->abort();
  lanes_.abort();
}

void SourceMigration::read_control() {
  read_messages();
  signals_.change([](SourceSignals& s) { s.closed = true; });
}

void SourceMigration::read_messages() {
  while (true) {
    const auto asked = now();
    auto message = control_->receive();
    const auto at = now();
    if (!message) {
      Error lost = std::move(message).error().in("the connection to the destination");
      if (lost.kind == ErrorKind::kTimedOut) lost.kind = ErrorKind::kPeerLost;
      // What it sends arrives, and what is sent to it is confirmed no more.
      const bool one_way = lost.os_error == ETIMEDOUT && at - signals_.look().heard_at < kFreshness;
      if (one_way) lost.message += fmt::format("; {}", kMtuHint);
      fail_with(std::move(lost));
      // Whoever is stuck in a send on it must not keep the guest standing.
      return control_channel_->abort();
    }
    const auto before = signals_.look();
    signals_.change([&](SourceSignals& s) { s.heard_at = at; });
    if (auto* fenced = std::get_if<wire::Fenced>(&*message)) {
      signals_.change([&](SourceSignals& s) {
        s.fence = std::max(s.fence, fenced->fence);
        s.last_fence = s.fence == kLastFence;
        s.fenced_at = at;
        if (s.fence >= kDevicesFence && !s.devices_fenced_at) s.devices_fenced_at = at;
      });
    } else if (std::holds_alternative<wire::MapApplied>(*message)) {
      signals_.change([](SourceSignals& s) { s.map_applied = true; });
    } else if (std::holds_alternative<wire::Prepared>(*message)) {
      if (!before.last_fence)
        return fail_with(Error{ErrorKind::kProtocol, "the destination was prepared before it had the guest's memory"});
      signals_.change([&](SourceSignals& s) { s.prepared = true, s.prepared_at = at; });
    } else if (auto* done = std::get_if<wire::Done>(&*message)) {
      if (!before.committing)
        return fail_with(Error{ErrorKind::kProtocol, "the destination claims to run a guest that was not committed"});
      signals_.change([&](SourceSignals& s) { s.done = *done, s.done_at = at; });
      return;
    } else if (auto* abort = std::get_if<wire::Abort>(&*message)) {
      // Before a commit nobody asked, and it means nothing more than any Abort.
      if (abort->never_ran && before.committing) signals_.change([](SourceSignals& s) { s.never_ran = true; });
      return fail_with(why_the_sink_gave_up(*abort));
    } else if (!std::holds_alternative<wire::Heartbeat>(*message)) {
      return fail_with(Error{ErrorKind::kProtocol, "the destination sent a message that only a source sends"});
    }
    // Last, so that a sink's last word is an error before it can be a sign of life.
    if (at - asked >= kAwaited) signals_.change([&](SourceSignals& s) { s.awaited_since = asked; });
  }
}

Status SourceMigration::until(bool (*ready)(const SourceSignals&), Duration at_most, std::string_view what) {
  const auto deadline = now() + at_most;
  while (true) {
    look_at_the_clock();
    const auto signals = signals_.await([&](const SourceSignals& s) { return s.failed || ready(s); }, kShowEvery);
    if (auto error = error_.get()) return fail(*error);
    if (ready(signals)) return {};
    TRY(check_guest());
    if (now() >= deadline) return fail(ErrorKind::kTimedOut, fmt::format("timed out waiting for {}", what));
    show_progress();
  }
}

void SourceMigration::fail_with(Error error) {
  error_.report(std::move(error));
  signals_.change([](SourceSignals& s) { s.failed = true; });
}

}  // namespace godwit
