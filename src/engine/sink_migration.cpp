#include "engine/sink_migration.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/migration_id.h"
#include "base/units.h"
#include "engine/fence.h"
#include "engine/lost_packets.h"
#include "wire/limits.h"

namespace godwit {

namespace {
using std::chrono::seconds;
constexpr Duration kCommitPatience = seconds(60);
constexpr Duration kClosePatience = seconds(2);
// From Welcome to the data map a source begins to track, for which it may have to wait until a dead engine's process
// has let go of its guest (100 s), and looks for data. One that beats and sends no map would keep all others out.
constexpr Duration kDataMapPatience = seconds(120);
constexpr Duration kDataMapPatiencePerGiB = std::chrono::milliseconds(500);
// About 50 GiB; what is not reached maps itself when the guest touches it.
constexpr Duration kWarmUp = seconds(1);
// Between two tries to let the guest run, which is paused meanwhile: longer and longer, because storage with errors is
// not helped by being asked all the time.
constexpr Duration kFirstRetry = std::chrono::milliseconds(20);
constexpr Duration kLongestRetry = std::chrono::milliseconds(250);
constexpr Duration kNoteEvery = seconds(10);
// The source beats once a second. What had to be waited for was not lying in the socket: it tells of now.
constexpr Duration kBeatPatience = seconds(3);
constexpr Duration kBeatAwaited = std::chrono::milliseconds(300);

std::uint64_t microseconds(Duration d) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(d).count());
}
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
    if (!migration.another_may_come()) return report;
    if (!parts.on_note) continue;
    const bool refused = report.error->kind == ErrorKind::kRefused;
    parts.on_note(fmt::format("{}: {}; waiting for a source again",
                              refused ? "a source was turned away, and nothing was changed here"
                                      : "a move broke off before it had changed anything here",
                              report.error->message));
  }
}

SinkMigration::~SinkMigration() {
  abort_channels();
  if (vm_ != nullptr && !runs()) vm_->interrupt();
}

SinkReport SinkMigration::run() {
  std::stop_callback on_cancel(parts_.cancelled, [this] {
    const std::lock_guard telling(telling_);
    {
      // Whoever has said that it is prepared does what the source decides.
      std::lock_guard lock(prepared_mutex_);
      if (has_come_to(SinkState::kPrepared)) return;
      error_.report(Error{ErrorKind::kCancelled, "cancelled by the operator"});
    }
    tell_failure();
    waits_no_more_.request_stop();
  });
  Status status = migrate();
  if (!status) fail_with(std::move(status).error());
  if (state_ == SinkState::kCommitted)
    (void)control_->send(wire::Abort{std::string(name_of(ErrorKind::kHypervisor)), error_.get()->message, never_ran_});
  await_close();
  abort_channels();
  end_threads();
  if (vm_ != nullptr && !runs()) vm_->give_up();
  return report(error_.get());
}

bool SinkMigration::another_may_come() const {
  const auto error = error_.get();
  const bool lost =
      control_ready_ && !has_come_to(SinkState::kMapping) && error && (refused_ || error->kind != ErrorKind::kRefused);
  return lost && !parts_.cancelled.stop_requested() && (vm_ == nullptr || vm_->check_alive());
}

/// Nobody touches the hypervisor any more when this returns.
void SinkMigration::end_threads() {
  if (vm_ != nullptr && !runs()) vm_->interrupt();
  // The lanes first: their last fence speaks to the loader.
  lane_threads_.clear();
  if (loader_) device_load_ = loader_->took();
  loader_.reset();
  populator_ = {};
}

Status SinkMigration::migrate() {
  parts_.on_milestone(Milestone::kListening);
  place_.emplace(TRY(broker_.await_source(parts_.patience, waits_no_more_.get_token())));
  GreetedSource& source = place_->source();
  began_ = parts_.clock.now();
  control_channel_ = std::move(source.control);
  control_.emplace(*control_channel_);
  control_ready_ = true;
  if (parts_.cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
  parts_.on_milestone(Milestone::kGreeted);
  TRY(greet(source.hello));
  parts_.on_milestone(Milestone::kWelcomed);
  return serve();
}

Status SinkMigration::greet(const wire::Hello& hello) {
  id_ = hello.id;
  if (parts_.on_source) parts_.on_source(id_);
  source_version_ = hello.fingerprint.version;
  parts_.log.info("hello", {{"source", source_version_}, {"lanes", hello.lanes}, {"program", hello.program}});
  stays_paused_ = hello.paused;
  Fit found = fit(hello.fingerprint, parts_.fingerprint, parts_.lenience, parts_.match_samples);
  auto& reasons = found.refusals;
  if (hello.lanes < 1 || hello.lanes > wire::kMaxLanes) {
    reasons.push_back(fmt::format("it asks for {} lanes, 1 to {} are possible", hello.lanes, wire::kMaxLanes));
  }
  refused_ = !reasons.empty();
  if (reasons.empty()) {
    auto vm = parts_.open_vm(hello.fingerprint);
    if (vm) {
      vm_ = *vm;
    } else {
      reasons.push_back(vm.error().message);
    }
  }
  if (!reasons.empty()) {
    const auto reason = fmt::format("{}", fmt::join(reasons, "; "));
    parts_.log.warning("refusal", {{"reason", reason}});
    (void)control_->send(wire::Refusal{reason});
    return fail(ErrorKind::kRefused, "the VM that was offered does not fit: " + reason);
  }
  for (const auto& warning : found.warnings) {
    if (parts_.on_note) parts_.on_note("warning: " + warning);
  }
  return await_lanes(hello, std::move(found.warnings));
}

/// A source opens its lanes before it says Hello, and is told which of them have come: a firewall may have let some
/// through only. One that opens them after Welcome must open all.
Status SinkMigration::await_lanes(const wire::Hello& hello, std::vector<std::string> warnings) {
  const bool open = hello.open_lanes != 0;
  std::vector<GreetedLane> lanes;
  wire::Welcome welcome{.fingerprint = parts_.fingerprint,
                        .program = parts_.program,
                        .warnings = std::move(warnings),
                        .keeps_paused = true};
  if (open) {
    lanes = TRY(place_->await_lanes(hello.lanes, false, waits_no_more_.get_token()));
    welcome.lanes.emplace();
    for (const GreetedLane& lane : lanes) welcome.lanes->push_back(lane.number);
  }
  expect_map();  // a source that has read Welcome can count on its time running
  TRY(control_->send(welcome));
  state_ = SinkState::kWelcomed;
  control_->set_silence(kPeerDeadAfter);
  heartbeat_.emplace(*control_);
  if (!open) lanes = TRY(place_->await_lanes(hello.lanes, true, waits_no_more_.get_token()));
  lane_count_ = static_cast<unsigned>(lanes.size());
  for (GreetedLane& lane : lanes) lane_channels_.push_back(std::move(lane.channel));
  if (lane_count_ < hello.lanes && parts_.on_note) {
    parts_.on_note(fmt::format("{} of {} lanes have come; the move goes on with these", lane_count_, hello.lanes));
  }
  return {};
}

/// From here on the source has all others wait for it.
void SinkMigration::expect_map() {
  std::uint64_t bytes = 0;
  for (const auto& block : parts_.fingerprint.blocks) bytes += block.size;
  const Duration patience = kDataMapPatience + static_cast<std::int64_t>(bytes / kGiB) * kDataMapPatiencePerGiB;
  map_is_late_.emplace(parts_.clock, patience, [this] {
    fail_with(Error{ErrorKind::kTimedOut, "timed out waiting for the source's data map"});
  });
  peer_stays_.emplace(parts_.clock, patience + kClosePatience, [this] { control_channel_->abort(); });
}

Status SinkMigration::serve() {
  filled_.emplace(vm_->memory().layout().chunk_count());
  map_.resize(vm_->memory().layout().chunk_count());
  lane_fences_.assign(lane_count_, 0);
  placer_.emplace(vm_->memory(), *filled_, parts_.kernels);
  lane_setting_.emplace(SinkLaneSetting{*placer_, parts_.kernels, lane_count_,
                                        [this](unsigned lane, std::uint32_t fence) { return on_fence(lane, fence); }});
  // A source beats as soon as it has read Welcome: one that says nothing then, or drips, does not keep others out.
  for (bool heard = false; !runs(); heard = true) {
    auto message = heard ? control_->receive() : control_->receive(Deadline::in(kPeerDeadAfter, parts_.clock));
    if (auto error = error_.get()) {
      // A lane's end may have been noticed before the word that explains it.
      if (const auto* abort = message ? std::get_if<wire::Abort>(&*message) : nullptr) hear_why(*abort);
      return fail(*error);
    }
    if (!message) {
      source_lost_ = true;
      Error lost = std::move(message).error().in("the connection to the source");
      if (stuck_at_the_first_large_one(control_channel_->link(), lost))
        lost.message += fmt::format("; unless the link is down, {}", kMtuHintBack);
      if (lost.kind == ErrorKind::kTimedOut) lost.kind = ErrorKind::kPeerLost;
      return fail(std::move(lost));
    }
    TRY(handle(*message));
    // The source's heartbeat makes this a look a second: lanes would go on filling the memory of a dead hypervisor.
    if (!runs()) TRY(vm_->check_alive());
  }
  return {};
}

Status SinkMigration::handle(wire::Message& message) {
  if (std::holds_alternative<wire::Heartbeat>(message)) return {};
  if (const auto* abort = std::get_if<wire::Abort>(&message)) {
    hear_why(*abort);
    return fail(*source_gave_up_);
  }
  const auto next = TRY(next_state(state_, message));
  if (state_ == SinkState::kWelcomed) TRY(take_only_this_source());
  if (next != state_) parts_.log.info("state", {{"state", name_of(next)}});
  state_ = next;  // first: what is done next may make this side prepared
  return act_on(message);
}

Status SinkMigration::act_on(wire::Message& message) {
  if (auto* map = std::get_if<wire::DataMap>(&message)) return apply_map(*map);
  if (std::holds_alternative<wire::DataMapEnd>(message)) return finish_map();
  if (auto* device = std::get_if<wire::DeviceBytes>(&message)) return loader_->push(std::move(device->bytes));
  if (std::holds_alternative<wire::GuestStopped>(message)) {
    // A commit may be on its way: whoever is prepared waits for the word, and does not give up on a short silence.
    control_->set_silence(kCommitPatience);
    loader_->guest_stopped();
  }
  if (std::holds_alternative<wire::DeviceEnd>(message)) loader_->end_of_stream();
  if (std::holds_alternative<wire::Commit>(message)) return resume();
  return {};
}

/// From here on something changes here: no other source may come.
Status SinkMigration::take_only_this_source() {
  map_is_late_.reset();
  peer_stays_.reset();
  if (auto error = error_.get()) return fail(*error);
  place_->settle("another VM is just being moved to this QEMU");
  loader_.emplace(
      *vm_, parts_.clock, [this] { on_prepared(); }, [this](Error error) { fail_with(std::move(error)); });
  return {};
}

void SinkMigration::hear_why(const wire::Abort& abort) {
  for (const auto outcome : {Outcome::kGuestEnded, Outcome::kGuestPaused}) {
    if (abort.kind == name_of(outcome)) ended_at_source_ = outcome;
  }
  source_gave_up_ = Error{ErrorKind::kCancelled, "the source gave up: " + abort.reason};
}

Status SinkMigration::apply_map(const wire::DataMap& map) {
  const auto& layout = vm_->memory().layout();
  if (map.first.value != mapped_chunks_ || map.words.size() > layout.chunk_count() - mapped_chunks_) {
    return fail(ErrorKind::kProtocol, "the source's data map is out of order or too long");
  }
  std::vector<PageWord> here(map.words.size());
  TRY(vm_->memory().find_data(map.first, here));
  for (std::size_t i = 0; i < map.words.size(); ++i) {
    const ChunkIndex chunk{mapped_chunks_ + static_cast<std::uint32_t>(i)};
    if ((map.words[i] & ~layout.valid_pages(chunk)) != 0) {
      return fail(ErrorKind::kProtocol, "the source's data map names pages past the end of RAM");
    }
    // What the source does not send is zeros there; whatever lies here goes.
    if (const PageWord stale = here[i] & ~map.words[i]; stale != 0) TRY(vm_->memory().discard(chunk, stale));
    filled_->set_filled(chunk, here[i] & map.words[i]);
    filled_->set_stale(chunk, here[i] & map.words[i]);
    map_[chunk.value] = map.words[i];
  }
  mapped_chunks_ += static_cast<std::uint32_t>(map.words.size());
  return {};
}

Status SinkMigration::finish_map() {
  if (mapped_chunks_ != map_.size()) return fail(ErrorKind::kProtocol, "the source's data map has gaps");
  parts_.on_milestone(Milestone::kMapped);
  for (unsigned i = 0; i < lane_count_; ++i) {
    lane_threads_.emplace_back([this, i] {
      name_thread(id_, fmt::format("lane{}", i));
      Status status = SinkLane(*lane_setting_, i, *lane_channels_[i]).run();
      if (!status) fail_with(std::move(status).error().in(fmt::format("lane {}", i)));
    });
  }
  populator_ = std::jthread([this](std::stop_token stop) { populate_ahead(stop); });
  return control_->send(wire::MapApplied{});
}

/// Huge pages take long to clear: ahead of the data, so that no lane waits for it. Small pages are not populated ahead,
/// because a lane fills them without clearing them first. Lanes need not know what was done here: where there is no
/// memory, they find out by themselves.
void SinkMigration::populate_ahead(std::stop_token stop) {
  const auto& layout = vm_->memory().layout();
  for (std::uint32_t c = 0; c < map_.size() && !stop.stop_requested(); ++c) {
    const ChunkIndex chunk{c};
    if (map_[c] == 0 || layout.blocks()[layout.locate(chunk).block].page_size == kPageSize) continue;
    if (!vm_->memory().populate(chunk, map_[c])) return;
  }
}

/// From the lanes' threads. What every lane has passed has been applied.
Status SinkMigration::on_fence(unsigned lane, std::uint32_t fence) {
  std::lock_guard lock(fence_mutex_);
  if (fence <= lane_fences_[lane])
    return fail(ErrorKind::kProtocol, fmt::format("the source sent fence {} out of order", fence));
  lane_fences_[lane] = fence;
  const std::uint32_t passed = *std::ranges::min_element(lane_fences_);
  if (passed == fenced_) return {};
  fenced_ = passed;
  parts_.log.info("fence", {{"number", passed}});
  if (passed == kDevicesFence) loader_->ram_in_place();
  TRY(control_->send(wire::Fenced{passed}));
  if (passed != kLastFence) return {};
  TRY(discard_stale());
  // Not before the source can know that all of RAM is in place: Prepared says it too.
  loader_->ram_complete();
  parts_.on_milestone(Milestone::kLastFencePassed);
  return {};
}

/// All lanes have ended their work: nobody else looks at these words. Few pages, if any: those that the guest has free
/// and in whose place something else lay here.
Status SinkMigration::discard_stale() {
  for (std::uint32_t c = 0; c < vm_->memory().layout().chunk_count(); ++c) {
    if (const PageWord stale = filled_->stale(ChunkIndex{c}); stale != 0) {
      TRY(vm_->memory().discard(ChunkIndex{c}, stale));
    }
  }
  return {};
}

void SinkMigration::on_prepared() {
  parts_.on_milestone(Milestone::kLoaded);
  {
    std::lock_guard lock(prepared_mutex_);
    if (error_.get()) return;
    state_ = SinkState::kPrepared;
  }
  if (Status sent = control_->send(wire::Prepared{}); !sent) return fail_with(std::move(sent).error());
  parts_.on_milestone(Milestone::kPrepared);
}

Status SinkMigration::resume() {
  const auto commit_at = parts_.clock.now();
  (void)parts_.journal.starting();  // it only tells more to who comes after a dead engine
  parts_.on_milestone(Milestone::kCommitted);
  if (!stays_paused_) {
    TRY(start_guest());
  } else if (Status stays = vm_->stay_paused(); !stays) {
    return give_back(std::move(stays).error());
  }
  state_ = SinkState::kRunning;
  commit_to_resume_ = parts_.clock.now() - commit_at;
  // The guest runs: a source that cannot hear it any more is in doubt, but nothing is lost.
  const Status told = control_->send(wire::Done{.commit_to_resume_us = microseconds(commit_to_resume_),
                                                .cpu_us = microseconds(cpu_time()),
                                                .peak_rss = heartbeat_->peak_memory(),
                                                .device_load_us = microseconds(loader_->took())});
  parts_.on_milestone(Milestone::kResumed);
  if (!stays_paused_) {
    if (const Status announced = vm_->announce(); !announced && parts_.on_note) {
      parts_.on_note("the guest runs, but not all could be done after its start: " + announced.error().message);
    }
    warm_up();
  }
  if (!told && parts_.on_note)
    parts_.on_note("the guest runs here, but the source could not be told: " + told.error().message);
  return {};
}

/// What keeps the hypervisor from running the guest may pass: another program's lock on its disk, storage that returns
/// errors. The source waits as long as this side is alive.
Status SinkMigration::start_guest() {
  const auto deadline = parts_.clock.now() + parts_.start_patience;
  auto pause = kFirstRetry;
  std::optional<Instant> noted;
  while (true) {
    Status started = vm_->resume();
    if (started) return started;
    if (started.error().kind != ErrorKind::kRefused) {
      return fail(std::move(started).error().in("the guest could not be started after the commit"));
    }
    const auto at = parts_.clock.now();
    if (at >= deadline) {
      started.error().message =
          fmt::format("QEMU there refused to let the guest run, for {} s ({})",
                      std::chrono::duration_cast<seconds>(parts_.start_patience).count(), started.error().message);
      return give_back(std::move(started).error());
    }
    if (parts_.on_note && (!noted || at - *noted >= kNoteEvery)) {
      noted = at;
      parts_.on_note(fmt::format("QEMU does not let the guest run yet ({}); trying again for {} s",
                                 started.error().message,
                                 std::chrono::duration_cast<seconds>(deadline - at).count() + 1));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kLongestRetry);
  }
}

/// What is held here may be the only copy: a source that is lost, or whose hypervisor has ended, keeps nothing to take
/// back. All that it has said meanwhile lies unread in the socket.
bool SinkMigration::source_can_take_it_back() {
  control_->set_silence(kBeatPatience);
  while (true) {
    const auto asked = parts_.clock.now();
    const auto message = control_->receive();
    if (!message || !std::holds_alternative<wire::Heartbeat>(*message)) return false;
    if (parts_.clock.now() - asked >= kBeatAwaited) return true;
  }
}

/// The source may run the guest again if it is certain that nobody else does or will. An engine that dies in here
/// leaves the source in doubt, and the guest stopped on both sides.
tl::unexpected<Error> SinkMigration::give_back(Error refused) {
  refused.kind = ErrorKind::kHypervisor;
  if (!source_can_take_it_back()) {
    refused.message += "; the source cannot be heard or has lost its QEMU, so the guest is kept here";
    return fail(std::move(refused));
  }
  const auto ended = vm_->end_unrun();
  never_ran_ = ended.has_value();
  refused.message += "; ";
  refused.message += ended ? "the guest never ran there, and that QEMU has been ended" : ended.error().message;
  return fail(std::move(refused));
}

void SinkMigration::warm_up() {
  const auto deadline = parts_.clock.now() + kWarmUp;
  for (std::uint32_t c = 0; c < vm_->memory().layout().chunk_count() && parts_.clock.now() < deadline; ++c) {
    const PageWord filled = filled_->present(ChunkIndex{c});
    if (filled != 0) vm_->warm_up(ChunkIndex{c}, filled);
  }
}

/// From any thread: the source is told why. It closes the connection then, which wakes the control reader. The
/// connection is not cut from here: a cut can overtake the message.
void SinkMigration::fail_with(Error error) {
  // Whoever comes second, and closes the connection then, waits until the first has said why.
  const std::lock_guard telling(telling_);
  if (!error_.report(error)) return;
  tell_failure();
  parts_.log.error("failure", {{"kind", name_of(error.kind)}, {"reason", error.message}});
}

void SinkMigration::tell_failure() {
  if (!control_ready_ || has_come_to(SinkState::kCommitted)) return;
  const Error error = *error_.get();
  if (!source_lost_) (void)control_->send(wire::Abort{std::string(name_of(error.kind)), error.message});
  (void)control_channel_->shut_down();
}

/// Reads on until the source has closed the connection, within bounds: closing with bytes unread would reset it, and
/// take back what the source has not read yet.
void SinkMigration::await_close() {
  if (!control_ready_) return;
  (void)control_channel_->shut_down();
  control_->set_silence(kClosePatience);
  const auto deadline = parts_.clock.now() + kClosePatience;
  // A message that comes byte by byte would keep us for as long as its sender likes.
  const Alarm late(parts_.clock, 2 * kClosePatience, [this] { control_channel_->abort(); });
  while (parts_.clock.now() < deadline) {
    const auto message = control_->receive();
    if (!message) return;
    if (const auto* abort = std::get_if<wire::Abort>(&*message)) hear_why(*abort);
  }
}

void SinkMigration::abort_channels() noexcept {
  if (control_channel_ && !runs()) control_channel_->abort();
  for (const auto& channel : lane_channels_) {
    if (channel) channel->abort();
  }
}

SinkReport SinkMigration::report(std::optional<Error> error) {
  SinkReport r;
  r.outcome = runs()                                              ? Outcome::kDone
              : has_come_to(SinkState::kCommitted) && !never_ran_ ? Outcome::kInDoubt
                                                                  : ended_at_source_.value_or(Outcome::kSourceRuns);
  r.paused = stays_paused_;
  if (error && error->kind == ErrorKind::kPeerLost && source_gave_up_) error = source_gave_up_;
  r.error = std::move(error);
  r.id = id_;
  r.vm_name = parts_.fingerprint.vm_name;
  r.source_version = source_version_;
  if (began_) r.total = parts_.clock.now() - *began_;
  if (control_channel_) r.bytes_received = control_channel_->link().bytes_received();
  for (const auto& channel : lane_channels_) {
    if (channel) r.bytes_received += channel->link().bytes_received();
  }
  r.commit_to_resume = commit_to_resume_;
  r.device_load = device_load_;
  r.cpu = cpu_time();
  r.peak_memory = heartbeat_ ? heartbeat_->peak_memory() : anonymous_memory();
  return r;
}

}  // namespace godwit
