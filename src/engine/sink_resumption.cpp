#include "engine/sink_resumption.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>

#include "base/cpu_account.h"
#include "base/without_exceptions.h"
#include "engine/all_there.h"
#include "engine/fence.h"
#include "engine/missing_map.h"
#include "engine/postcopy_sink.h"
#include "engine/sink_lanes.h"
#include "engine/source_session.h"

namespace godwit {

namespace {

/// `arrived`: what has come of it. A page that is not there although it has come was given back by the guest: it is
/// zeros from then on, and not what it was at the source.
Result<LackingGuest::Memory> open_again(const LackingGuest& guest, const ArrivedMap& arrived) {
  auto memory = TRY_IN("the memory of the guest that waits here", guest.open());
  for (std::uint32_t c = 0; c < memory.missing.size(); ++c) memory.missing[c] &= ~arrived.word(ChunkIndex{c});
  return memory;
}

/// One source, and what comes of it.
class SinkResumption {
 public:
  SinkResumption(const SinkParts& parts, const LackingGuest& guest, const RamLayout& layout, Broker& broker)
      : context_(parts), guest_(guest), layout_(layout), session_(context_, broker) {}
  ~SinkResumption() { stop(); }

  SinkReport run() noexcept {
    const std::stop_callback on_cancel(context_.parts.cancelled, [this] { session_.cancel(); });
    if (Status there = without_exceptions([this] { return up_to_all_there(); }); !there) {
      session_.fail_with(std::move(there).error());
    }
    (void)without_exceptions([this]() -> Status {
      session_.see_off();
      return {};
    });
    stop();
    return report();
  }
  bool turned_away() const noexcept { return turned_away_; }

 private:
  Status up_to_all_there();
  Status admit();
  Status take_up(LackingGuest::Memory memory, ArrivedMap arrived, std::vector<GreetedLane> lanes);
  Status welcome(const std::vector<GreetedLane>& lanes);
  Status take_rest();
  Status on_passed(std::uint32_t fence);
  void stop();
  SinkReport report() const;

  SinkContext context_;
  const LackingGuest& guest_;
  const RamLayout& layout_;
  SourceSession session_;
  AllThere all_there_{[this] { tell_all_there(context_, session_); }};
  std::optional<PostcopySink> postcopy_;
  std::optional<SinkLanes> lanes_;  ///< they put pages in place by it
  bool turned_away_ = false;
  bool done_ = false;
};

Status SinkResumption::up_to_all_there() {
  TRY(session_.await());
  TRY(admit());
  auto lanes = TRY(session_.await_lanes(false));
  session_.refuse_others("another godwit brings this VM its memory just now");
  TRY(welcome(lanes));
  // May take long where much is missing: the source hears that this side is alive.
  auto arrived = TRY(context_.parts.journal.arrived());
  auto memory = TRY(open_again(guest_, arrived));
  // What came without its mark is there now, and may be given back before somebody looks once more.
  for (std::uint32_t c = 0; c < memory.missing.size() && c < guest_.record.words.size(); ++c) {
    const PageWord there = guest_.record.words[c] & ~memory.missing[c];
    if (there != 0) arrived.set(ChunkIndex{c}, there);
  }
  TRY(take_up(std::move(memory), std::move(arrived), std::move(lanes)));
  TRY(take_rest());
  TRY(postcopy_->end());
  done_ = true;
  return context_.parts.journal.starting();
}

/// Whoever is not the guest's own source would have its bytes put among those of another guest.
Status SinkResumption::admit() {
  const auto& hello = session_.hello();
  const auto& wanted = guest_.record;
  std::string reason;
  if (!hello.resume) {
    reason = fmt::format(
        "this QEMU has the VM '{}', which waits for its memory: only `godwit send --resume` where that "
        "is may come here",
        wanted.vm_name);
  } else if (hello.id != wanted.id) {
    reason = fmt::format("the VM '{}' waits here for the memory of migration {}, and this is migration {}",
                         wanted.vm_name, wanted.id, hello.id.empty() ? "without a name" : hello.id);
  } else if (!hello.postcopy || hello.lanes < 2 || hello.open_lanes != hello.lanes) {
    reason = "a lane and a connection for urgent pages are needed";
  }
  if (reason.empty()) return {};
  turned_away_ = true;
  context_.parts.log.warning("refusal", {{"reason", reason}});
  (void)session_.control().send(wire::Refusal{reason});
  return fail(ErrorKind::kRefused, reason);
}

Status SinkResumption::take_up(LackingGuest::Memory memory, ArrivedMap arrived, std::vector<GreetedLane> lanes) {
  SinkLanes::Channels channels;
  for (GreetedLane& lane : lanes) channels.push_back(std::move(lane.channel));
  auto urgent = std::move(channels.back());
  channels.pop_back();
  const auto failed = [this](Error error) {
    if (!all_there_.confirming()) session_.fail_with(std::move(error));
  };
  const auto& parts = context_.parts;
  postcopy_.emplace(PostcopySink::Parts{.pages = std::move(memory.pages),
                                        .urgent = std::move(urgent),
                                        .layout = layout_,
                                        .kernels = parts.kernels,
                                        .decoders = parts.decoders,
                                        .id = guest_.record.id,
                                        .on_failed = failed,
                                        .on_all_there = [this] { all_there_.last_page_placed(); }});
  TRY(postcopy_->add({.first = ChunkIndex{0}, .words = std::move(memory.missing)}));
  MissingPlacer& placer = postcopy_->placer();
  placer.mark_in(std::move(arrived));
  if (placer.left() == 0) all_there_.nothing_missing();
  parts.log.info("resumed", {{"missing_pages", placer.left()}});
  TRY(send_missing_map(session_.control(), layout_.chunk_count(),
                       [&](ChunkIndex chunk) { return placer.missing(chunk); }));
  TRY(postcopy_->begin());
  postcopy_->take_urgent();
  lanes_.emplace(
      std::move(channels), LaneShares::agreed(session_.hello().lane_chunks), postcopy_->placer(), parts.kernels,
      parts.decoders, [this](std::uint32_t fence) { return on_passed(fence); },
      [this](std::string_view text) { context_.note(text); });
  session_.bear_silence(kPostcopyPatience);
  postcopy_->bear_silence(kPostcopyPatience);
  lanes_->bear_silence(kPostcopyPatience);
  lanes_->start(guest_.record.id, failed);
  parts.on_milestone(Milestone::kRunsEarly);
  return {};
}

Status SinkResumption::welcome(const std::vector<GreetedLane>& lanes) {
  if (lanes.size() < 2 || lanes.back().number != session_.hello().open_lanes - 1) {
    return fail(ErrorKind::kPeerLost, "the connection for urgent pages did not come");
  }
  wire::Welcome welcome{.fingerprint = context_.parts.fingerprint,
                        .program = context_.parts.program,
                        .warnings = {},
                        .lanes = std::vector<std::uint16_t>(),
                        .keeps_paused = true,
                        .direct = guest_.record.direct,
                        .why_stream = "they were not at first",
                        .lane_chunks = static_cast<std::uint16_t>(LaneShares::agreed(session_.hello().lane_chunks)),
                        .postcopy = true,
                        .why_not_postcopy = {},
                        .resume = true};
  for (const GreetedLane& lane : lanes) welcome.lanes->push_back(lane.number);
  welcome.fingerprint.vm_name = guest_.record.vm_name;
  welcome.fingerprint.blocks.clear();
  for (const auto& block : guest_.record.blocks) {
    welcome.fingerprint.blocks.push_back({.name = block.name, .size = block.size, .page_size = block.page_size});
  }
  TRY(session_.control().send(welcome));
  context_.enter(SinkState::kWelcomed);
  session_.begin_beating();
  return {};
}

Status SinkResumption::take_rest() {
  while (!all_there_.confirmed()) {
    auto message = session_.receive();
    if (all_there_.confirmed()) break;
    if (!message) return fail(std::move(message).error());
    if (std::holds_alternative<wire::Heartbeat>(*message)) continue;
    return fail(ErrorKind::kProtocol, "the source sent a message that does not belong to what follows a guest");
  }
  return {};
}

/// From the lanes' threads.
Status SinkResumption::on_passed(std::uint32_t fence) {
  if (fence != kLastFence) return fail(ErrorKind::kProtocol, "the source sent a fence other than the last one");
  all_there_.last_fence_passed();
  return {};
}

void SinkResumption::stop() {
  session_.abort();
  if (postcopy_) postcopy_->abort();
  if (lanes_) lanes_->stop();
  if (postcopy_) postcopy_->stop();
}

SinkReport SinkResumption::report() const {
  SinkReport r;
  r.postcopy = true;
  r.changed = true;
  r.outcome = done_ ? Outcome::kDone : Outcome::kIncomplete;
  if (r.outcome != Outcome::kDone) r.error = context_.error.get();
  r.vm_name = guest_.record.vm_name;
  session_.account(r);
  r.id = guest_.record.id;
  if (lanes_) r.bytes_received += lanes_->bytes_received();
  if (postcopy_) r.bytes_received += postcopy_->bytes_received();
  r.cpu = job_cpu_time();
  return r;
}

SinkReport without_a_source(const SinkParts& parts, const LackingGuest& guest, std::optional<Error> error) {
  SinkReport r;
  r.postcopy = true;
  r.changed = true;
  r.outcome = error ? Outcome::kIncomplete : Outcome::kDone;
  r.error = std::move(error);
  r.vm_name = guest.record.vm_name;
  r.id = guest.record.id;
  if (r.outcome == Outcome::kDone) parts.log.info("resumed", {{"missing_pages", 0}});
  return r;
}

/// True: an earlier engine had put on record that all has come, before it told the source, which may be gone. Without
/// that record nobody but the source can say that the guest was committed.
Result<bool> let_go_if_all_has_come(const SinkParts& parts, const LackingGuest& guest) {
  if (!guest.record.words.empty()) return false;
  const auto memory = TRY(open_again(guest, {}));
  TRY(memory.pages->begin(memory.missing));
  TRY(memory.pages->end());
  TRY(parts.journal.starting());
  return true;
}

}  // namespace

SinkReport resume_sink(SinkParts parts, const LackingGuest& guest) {
  std::mutex noting;
  if (parts.on_note) {
    parts.on_note = [&noting, say = std::move(parts.on_note)](std::string_view text) {
      const std::lock_guard lock(noting);
      say(text);
    };
  }
  if (guest.unusable) return without_a_source(parts, guest, guest.unusable);
  if (guest.has_all) return without_a_source(parts, guest, std::nullopt);
  const auto layout = RamLayout::make(guest.record.blocks);
  if (!layout) return without_a_source(parts, guest, layout.error());
  const auto over = let_go_if_all_has_come(parts, guest);
  if (!over) return without_a_source(parts, guest, over.error());
  if (*over) return without_a_source(parts, guest, std::nullopt);
  Broker broker(parts.listener, parts.clock, 1, parts.on_note, parts.wrap);
  while (true) {
    SinkResumption resumption(parts, guest, *layout, broker);
    SinkReport report = resumption.run();
    if (!resumption.turned_away() || parts.cancelled.stop_requested()) return report;
    if (parts.on_note) {
      parts.on_note(fmt::format("a source was turned away, and the VM waits on: {}", report.error->message));
    }
  }
}

}  // namespace godwit
