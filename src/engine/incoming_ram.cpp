#include "engine/incoming_ram.h"

#include "base/cpu_account.h"
#include "engine/fence.h"

namespace godwit {

namespace {
// About 50 GiB; what is not reached maps itself when the guest touches it.
constexpr Duration kFirstWarmUp = std::chrono::seconds(1);
// The lanes had been given time to empty before the pause.
constexpr Duration kGatePatience = std::chrono::minutes(10);
constexpr Duration kLookForFailures = std::chrono::milliseconds(20);
constexpr const char* kNotOnRecord = "what the guest lacks could not be put on record";
constexpr std::string_view kNotAgreed = "the source tells of missing pages, which nobody has agreed to";

/// Huge pages take long to clear: ahead of the data, so that no lane waits for it. Small pages are not populated ahead,
/// because a lane fills them without clearing them first. Lanes need not know what was done here: where there is no
/// memory, they find out by themselves.
void populate_ahead(const std::stop_token& stop, GuestMemory& memory, const std::vector<PageWord>& map) {
  const auto& layout = memory.layout();
  for (std::uint32_t c = 0; c < map.size() && !stop.stop_requested(); ++c) {
    const ChunkIndex chunk{c};
    if (map[c] == 0 || layout.blocks()[layout.locate(chunk).block].page_size == kPageSize) continue;
    if (!memory.populate(chunk, map[c])) return;
  }
}
}  // namespace

IncomingRam::IncomingRam(SinkContext& context, SourceSession& session, Reception::Connections connections)
    : context_(context),
      session_(session),
      memory_(context.vm->memory()),
      filled_(chunk_count()),
      placer_(memory_, filled_, context.parts.kernels) {
  make_lanes(std::move(connections.lanes));
  if (!connections.missing_pages) return;
  postcopy_.emplace(PostcopySink::Parts{.pages = std::move(connections.missing_pages),
                                        .urgent = std::move(connections.urgent),
                                        .layout = memory_.layout(),
                                        .kernels = context.parts.kernels,
                                        .decoders = context.parts.decoders,
                                        .id = session.hello().id,
                                        .on_failed =
                                            [this](Error error) {
                                              // A source that has been told that all is here hangs up.
                                              if (!all_there_.confirming()) session_.fail_with(std::move(error));
                                            },
                                        .on_all_there = [this] { all_there_.last_page_placed(); }});
}

void IncomingRam::make_lanes(SinkLanes::Channels channels) {
  lanes_.emplace(
      std::move(channels), LaneShares::agreed(session_.hello().lane_chunks), placer_, context_.parts.kernels,
      context_.parts.decoders, [this](std::uint32_t fence) { return on_passed(fence); },
      [&context = context_](std::string_view text) { context.note(text); });
}

void IncomingRam::start_lanes() {
  lanes_->start(session_.hello().id, [this](Error error) { session_.lose_link(std::move(error)); });
}

void IncomingRam::part() {
  if (!lanes_) return;
  lanes_->stop();
  received_before_ += lanes_->bytes_received();
  lanes_.reset();
}

void IncomingRam::join(std::vector<GreetedLane> lanes) {
  SinkLanes::Channels channels;
  for (GreetedLane& lane : lanes) channels.push_back(std::move(lane.channel));
  if (postcopy_) {
    received_before_ += postcopy_->bytes_received();
    postcopy_->use(std::move(channels.back()));
    channels.pop_back();
  }
  make_lanes(std::move(channels));
  start_lanes();
}

Status IncomingRam::apply(const wire::DataMap& map) {
  const auto& layout = memory_.layout();
  const auto mapped = static_cast<std::uint32_t>(map_.size());
  if (map.first.value != mapped || map.words.size() > layout.chunk_count() - mapped) {
    return fail(ErrorKind::kProtocol, "the source's data map is out of order or too long");
  }
  std::vector<PageWord> here(map.words.size());
  TRY(memory_.find_data(map.first, here));
  for (std::size_t i = 0; i < map.words.size(); ++i) {
    const ChunkIndex chunk{mapped + static_cast<std::uint32_t>(i)};
    if ((map.words[i] & ~layout.valid_pages(chunk)) != 0) {
      return fail(ErrorKind::kProtocol, "the source's data map names pages past the end of RAM");
    }
    // What the source does not send is zeros there; whatever lies here goes.
    if (const PageWord stale = here[i] & ~map.words[i]; stale != 0) TRY(memory_.discard(chunk, stale));
    filled_.set_filled(chunk, here[i] & map.words[i]);
    filled_.set_stale(chunk, here[i] & map.words[i]);
    map_.push_back(map.words[i]);
  }
  return {};
}

Status IncomingRam::start(DeviceLoader& loader) {
  if (map_.size() != chunk_count()) return fail(ErrorKind::kProtocol, "the source's data map has gaps");
  context_.parts.on_milestone(Milestone::kMapped);
  loader_ = &loader;
  start_lanes();
  populator_ =
      job_thread([this, map = std::move(map_)](const std::stop_token& stop) { populate_ahead(stop, memory_, map); });
  return session_.control().send(wire::MapApplied{});
}

/// From the lanes' threads.
Status IncomingRam::on_passed(std::uint32_t fence) {
  context_.parts.log.info("fence", {{"number", fence}});
  if (fence == kMissingFence) {
    if (postcopy_) return {};
    return fail(ErrorKind::kProtocol, "the source wants to run the guest early, which nobody has agreed to");
  }
  if (is_early()) {
    if (fence == kLastFence) all_there_.last_fence_passed();
    return {};
  }
  if (fence == kDevicesFence) loader_->ram_in_place();
  TRY(session_.control().send(wire::Fenced{fence}));
  if (fence != kLastFence) return {};
  TRY(discard_stale());
  // Not before the source can know that all of RAM is in place: Prepared says it too.
  loader_->ram_complete();
  context_.parts.on_milestone(Milestone::kLastFencePassed);
  return {};
}

Status IncomingRam::add_missing(const wire::MissingMap& map) {
  if (postcopy_ && !early_) return postcopy_->add(map);
  return fail(ErrorKind::kProtocol, std::string(kNotAgreed));
}

/// What lanes had sent before may have to come a long way. That it comes no more they notice themselves.
Status IncomingRam::await_gate() {
  const auto deadline = context_.now() + kGatePatience;
  while (!lanes_->await_all_at_gate(kLookForFailures)) {
    if (auto error = context_.error.get()) return fail(*error);
    if (context_.now() >= deadline) return fail(ErrorKind::kTimedOut, "timed out waiting for what the lanes had sent");
  }
  return {};
}

Status IncomingRam::take_away_ahead() {
  if (!postcopy_ || early_) return fail(ErrorKind::kProtocol, std::string(kNotAgreed));
  const bool first = !postcopy_->begun();
  if (first) {
    TRY(await_gate());
    populator_ = {};
    TRY(discard_stale());
    TRY(keep_record());  // whoever comes after this process's death finds by it what waits here
  }
  TRY(first ? postcopy_->begin() : postcopy_->take_away_more());
  if (first) context_.parts.on_milestone(Milestone::kTakenAhead);
  return session_.control().send(wire::Fenced{kMissingFence});
}

Status IncomingRam::run_early() {
  if (!postcopy_ || !postcopy_->begun() || early_) return fail(ErrorKind::kProtocol, std::string(kNotAgreed));
  if (postcopy_->placer().left() == 0) all_there_.nothing_missing();
  // On record first: what this hypervisor holds from here on is not the whole guest. The guest is paused: only what is
  // not on record yet.
  TRY_IN(kNotOnRecord, context_.parts.journal.keep_missing_besides(postcopy_->placer().besides()));
  postcopy_->placer().mark_in(TRY(context_.parts.journal.arrived()));
  TRY(context_.parts.journal.starting_early());
  context_.early = early_ = true;
  TRY(postcopy_->take_away_more());
  context_.parts.log.info("early", {{"missing_pages", postcopy_->placer().left()}});
  lanes_->open_gate(postcopy_->placer());
  postcopy_->take_urgent();
  TRY(session_.control().send(wire::Fenced{kDevicesFence}));
  loader_->ram_in_place();
  loader_->ram_complete();
  return {};
}

bool IncomingRam::give_up_ahead() {
  if (!postcopy_ || !postcopy_->begun() || early_ || given_up_) return true;
  given_up_ = postcopy_->end().has_value();
  return given_up_;
}

Status IncomingRam::keep_record() {
  TRY_IN(kNotOnRecord, context_.parts.journal.keep_missing(missing_record()));
  return {};
}

MissingRecord IncomingRam::missing_record() const {
  const auto blocks = memory_.layout().blocks();
  return {.id = session_.hello().id,
          .vm_name = context_.parts.fingerprint.vm_name,
          .where = postcopy_->trace(),
          .direct = context_.vm->way() == DeviceWay::kDirect,
          .blocks = {blocks.begin(), blocks.end()},
          .words = postcopy_->placer().words()};
}

/// All lanes have ended their work: nobody else looks at these words. Few pages, if any: those that the guest has free
/// and in whose place something else lay here.
Status IncomingRam::discard_stale() {
  for (std::uint32_t c = 0; filled_.any_stale() && c < chunk_count(); ++c) {
    if (const PageWord stale = filled_.stale(ChunkIndex{c}); stale != 0) {
      TRY(memory_.discard(ChunkIndex{c}, stale));
    }
  }
  return {};
}

void IncomingRam::stop() {
  if (lanes_) lanes_->stop();
  if (postcopy_) postcopy_->stop();
  populator_ = {};
}

void IncomingRam::warm_up() {
  if (is_early()) return;
  const auto deadline = context_.now() + kFirstWarmUp;
  for (std::uint32_t c = 0; c < chunk_count() && context_.now() < deadline; ++c) {
    const PageWord filled = filled_.present(ChunkIndex{c});
    if (filled != 0) context_.vm->warm_up(ChunkIndex{c}, filled);
  }
}

}  // namespace godwit
