#include "engine/sink_session.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/cpu_account.h"
#include "base/migration_id.h"
#include "engine/fence.h"
#include "engine/lost_packets.h"

namespace godwit {

namespace {
using std::chrono::milliseconds;

std::uint32_t in_milliseconds(Duration time) {
  return static_cast<std::uint32_t>(std::chrono::ceil<milliseconds>(time).count());
}

// The sink answers Hello at once.
constexpr Duration kGreetingPatience = std::chrono::seconds(10);
// What lay in the socket is read in microseconds, or by a thread that has to wait for its CPU in some ten milliseconds.
// A message that took longer came while this process ran: a sink that is alive sends one within a second.
constexpr Duration kAwaited = milliseconds(300);
// How long the goodbye to a sink may hold back what comes after it.
constexpr Duration kGoodbyePatience = milliseconds(500);
}  // namespace

namespace {
std::string why_not_postcopy(const wire::Welcome& welcome) {
  return welcome.why_not_postcopy.empty() ? "godwit there is too old" : welcome.why_not_postcopy;
}
}  // namespace

Error why_the_sink_gave_up(const wire::Abort& abort) {
  return {.kind = error_kind_from(abort.kind).value_or(ErrorKind::kRefused),
          .message = "the destination gave up: " + abort.reason,
          .at_peer = true};
}

Result<SinkSession::Lanes> SinkSession::open() {
  const auto& parts = context_.parts;
  channel_ = TRY(parts.connect());
  connected_ = true;
  TRY(context_.check_not_cancelled());
  const wire::Greeting greeting{.role = wire::Role::kControl, .secret = TRY(wire::random_secret())};
  TRY(wire::send_greeting(*channel_, greeting));
  control_.emplace(*channel_, kGreetingPatience);
  parts.on_milestone(Milestone::kConnected);
  auto lanes = TRY(open_lanes(parts.connect, greeting.secret, parts.goals.lanes));
  TRY(offer_postcopy(greeting.secret, lanes));
  TRY(context_.check_not_cancelled());
  const auto opened = static_cast<std::uint16_t>(lanes.channels.size());
  const auto in_a_row = LaneShares::offered(parts.vm.memory().layout().chunk_count(), opened);
  secret_ = greeting.secret;
  hello_ = wire::Hello{.fingerprint = parts.vm.fingerprint(),
                       .lanes = opened,
                       .program = parts.program,
                       .open_lanes = opened,
                       .paused = parts.vm.starts_paused(),
                       .id = parts.id,
                       .direct = parts.vm.way() == DeviceWay::kDirect,
                       .lane_chunks = static_cast<std::uint16_t>(in_a_row),
                       .postcopy = offers_postcopy_,
                       .resume = parts.resumes,
                       .link_patience_ms = in_milliseconds(parts.goals.link_patience)};
  TRY(control_->send(hello_));
  auto answer = TRY(await_welcome());
  const auto welcome = TRY(welcome_in(std::move(answer)));
  TRY(check_resumed(welcome));
  welcomed_ = true;
  sink_version_ = welcome.fingerprint.version;
  takes_direct_ = welcome.direct;
  context_.sink_keeps_paused = welcome.stay_paused;
  context_.link_patience =
      std::min<Duration>(parts.goals.link_patience, std::chrono::milliseconds(welcome.link_patience_ms));
  TRY(parts.vm.meet(welcome.fingerprint));
  if (welcome.lane_chunks != 1 && welcome.lane_chunks != in_a_row) {
    return fail(ErrorKind::kProtocol, "the destination shares the memory out among lanes as nobody offered");
  }
  chunks_in_a_row_ = welcome.lane_chunks;
  why_stream_ = welcome.why_stream.empty() ? "godwit is too old" : welcome.why_stream;
  parts.log.info("welcome", {{"destination", sink_version_}, {"lanes", opened}, {"security", security()}});
  for (const auto& warning : welcome.warnings) context_.note("warning, from the destination: " + warning);
  begin_hearing();
  auto found = TRY(lanes_found(std::move(lanes), welcome.lanes));
  if (offers_postcopy_) settle_postcopy(welcome, opened, found);
  parts.on_milestone(Milestone::kWelcomed);
  return found;
}

void SinkSession::begin_hearing() {
  control_->set_silence(kPeerDeadAfter);
  heartbeat_.emplace(*control_, context_.parts.heartbeat);
  reader_ = job_thread([this] {
    name_thread(context_.parts.id, "control");
    read_control();
  });
}

void SinkSession::part() {
  parting_ = true;
  channel_->abort();
  peak_before_ = peak_memory();
  heartbeat_.reset();
  reader_ = {};
}

wire::Hello SinkSession::rejoin_hello() const {
  wire::Hello hello = hello_;
  hello.lanes = static_cast<std::uint16_t>(context_.parts.goals.lanes + (has_urgent_ ? 1 : 0));
  hello.open_lanes = 0;
  hello.rejoin = secret_;
  hello.attempt = attempt_;
  return hello;
}

void SinkSession::join(std::unique_ptr<Channel> control) {
  sent_before_ += channel_->link().bytes_sent();
  channel_ = std::move(control);
  control_.emplace(*channel_);
  context_.signals.change([at = context_.now()](SourceSignals& s) {
    s.heard_at = at;
    s.closed = s.link_lost = false;
  });
  parting_ = false;
  begin_hearing();
}

/// Goals that need it, or an operator who may order it. The latter's move goes on without.
Status SinkSession::offer_postcopy(const wire::Secret& secret, OpenedLanes& lanes) {
  const auto& goals = context_.parts.goals;
  if (!goals.may_postcopy() && !goals.may_be_ordered) return {};
  Status opened = open_urgent(secret, lanes);
  offers_postcopy_ = opened.has_value();
  if (opened || goals.may_postcopy()) return opened;
  cannot_postcopy(opened.error().message);
  return {};
}

void SinkSession::cannot_postcopy(std::string why) {
  if (context_.parts.steering != nullptr) context_.parts.steering->postcopy_is(std::move(why));
}

/// A sink that does not agree takes the last of the connections for one lane more.
void SinkSession::settle_postcopy(const wire::Welcome& welcome, std::size_t opened, Lanes& found) {
  if (welcome.postcopy) {
    has_urgent_ = true;
    urgent_ = std::move(found.back());
    found.pop_back();
    return cannot_postcopy({});
  }
  cannot_postcopy(why_not_postcopy(welcome));
  const bool came = !welcome.lanes || welcome.lanes->back() + std::size_t{1} == opened;
  const auto& limit = context_.parts.limit_rate;
  if (came && limit) found.back() = limit(std::move(found.back()));
}

/// The last of the lanes, on which the sink asks for pages.
Status SinkSession::open_urgent(const wire::Secret& secret, OpenedLanes& lanes) const {
  const auto& parts = context_.parts;
  auto urgent =
      TRY_IN("the connection for urgent pages", parts.connect_urgent ? parts.connect_urgent() : parts.connect());
  const auto number = static_cast<std::uint16_t>(lanes.channels.size());
  TRY(wire::send_greeting(*urgent, {.role = wire::Role::kLane, .lane = number, .secret = secret}));
  lanes.channels.push_back(std::move(urgent));
  return {};
}

Result<wire::Message> SinkSession::await_welcome() {
  auto answer = control_->receive();
  if (answer) return answer;
  Error error = std::move(answer).error().in("no welcome from the destination");
  // That the link is up shows another connection.
  if (stuck_at_the_first_large_one(channel_->link(), error) && context_.parts.connect()) {
    error = Error{ErrorKind::kPeerLost, std::string(kMtuHint), error.os_error}.in("no welcome from the destination");
  }
  // A connection that has fallen silent is the link's fault or the peer's, no matter of how long a move may take.
  if (error.kind == ErrorKind::kTimedOut) error.kind = ErrorKind::kPeerLost;
  return fail(std::move(error));
}

Result<wire::Welcome> SinkSession::welcome_in(wire::Message answer) const {
  if (auto* refusal = std::get_if<wire::Refusal>(&answer)) {
    return fail(ErrorKind::kRefused, "the destination refuses this VM: " + refusal->reason);
  }
  if (auto* abort = std::get_if<wire::Abort>(&answer)) return fail(why_the_sink_gave_up(*abort));
  auto* welcome = std::get_if<wire::Welcome>(&answer);
  if (welcome == nullptr) return fail(ErrorKind::kProtocol, "the destination answered Hello with another message");
  if (context_.parts.vm.starts_paused() && !welcome->keeps_paused) {
    return fail(ErrorKind::kRefused, "the VM is paused, and the destination's godwit is too old to keep it paused");
  }
  if (context_.parts.goals.may_postcopy() && !welcome->postcopy) {
    return fail(ErrorKind::kRefused,
                fmt::format("the guest cannot run at the destination before all of it is there ({}): choose something "
                            "else with --on-deadline",
                            why_not_postcopy(*welcome)));
  }
  return std::move(*welcome);
}

/// The sink's bytes are to be told apart from those of any other guest.
Status SinkSession::check_resumed(const wire::Welcome& welcome) {
  if (context_.parts.resumes != welcome.resume) {
    return fail(ErrorKind::kRefused, context_.parts.resumes
                                         ? "the destination waits for a new VM, not for one whose memory is to follow: "
                                           "start `godwit receive --resume` there"
                                         : "the destination goes on with a post-copy that nobody asked for");
  }
  if (!welcome.resume) return {};
  most_chunks_ = context_.parts.vm.memory().layout().chunk_count();
  for (const auto& block : welcome.fingerprint.blocks) {
    blocks_there_.push_back({.name = block.name, .size = block.size, .page_size = block.page_size});
  }
  return {};
}

Status SinkSession::add_missing(const wire::MissingMap& map) {
  const std::uint64_t begun = missing_.empty() ? 0 : missing_.back().first.value + missing_.back().words.size();
  if (!context_.parts.resumes || context_.signals.look().map_told || map.first.value < begun ||
      map.first.value + map.words.size() > most_chunks_) {
    return fail(ErrorKind::kProtocol, "the destination's map of missing pages is out of order or too long");
  }
  missing_.push_back(map);
  return {};
}

Result<std::vector<PageWord>> SinkSession::take_missing(const RamLayout& layout) {
  const auto same = [](const RamBlock& a, const RamBlock& b) { return a.name == b.name && a.size == b.size; };
  if (!std::ranges::equal(layout.blocks(), blocks_there_, same)) {
    return fail(ErrorKind::kRefused, "the destination numbers this VM's memory in another way than the QEMU here");
  }
  std::vector<PageWord> words(layout.chunk_count());
  for (const auto& map : std::exchange(missing_, {})) {
    for (std::size_t i = 0; i < map.words.size(); ++i) {
      const ChunkIndex chunk{map.first.value + static_cast<std::uint32_t>(i)};
      if (chunk.value >= words.size() || (map.words[i] & ~layout.valid_pages(chunk)) != 0) {
        return fail(ErrorKind::kProtocol, "the destination lacks pages that the guest does not have");
      }
      words[chunk.value] = map.words[i];
    }
  }
  return words;
}

/// Lanes are numbered by their order from here on.
Result<SinkSession::Lanes> SinkSession::lanes_found(OpenedLanes opened,
                                                    const std::optional<std::vector<std::uint16_t>>& arrived) {
  Lanes lanes;
  if (arrived) {
    if (arrived->empty() || arrived->back() >= opened.channels.size()) {
      return fail(ErrorKind::kProtocol, "the destination names lanes that were not opened");
    }
    for (const auto number : *arrived) lanes.push_back(std::move(opened.channels[number]));
  } else {
    lanes = std::move(opened.channels);
  }
  if (context_.parts.goals.may_postcopy() && lanes.size() < 2)
    return fail(ErrorKind::kPeerLost,
                "one lane and one connection for urgent pages are needed, and did not reach the destination");
  if (const auto asked_for = context_.parts.goals.lanes + (offers_postcopy_ ? 1 : 0); lanes.size() < asked_for) {
    const std::string why = opened.failures.empty() ? "the others were lost on the way" : opened.failures;
    context_.note(
        fmt::format("{} of {} lanes could be opened; the move goes on with these ({})", lanes.size(), asked_for, why));
  }
  return lanes;
}

/// Whatever is read from the socket after this process was stopped may be old, Prepared too, and the sink's last word
/// lie behind it; only a message that has to be waited for is a sign of life.
Status SinkSession::hear() {
  context_.gaps.look(context_.now());
  if (!context_.gaps.any() && is_fresh()) return {};
  const auto since = context_.now();
  const auto signals = context_.signals.await(
      [&](const SourceSignals& s) { return s.failed || s.awaited_since > since; }, kPeerDeadAfter);
  TRY(context_.no_error_yet());
  if (signals.awaited_since > since) return {};
  return fail(ErrorKind::kPeerLost, "the destination has fallen silent");
}

void SinkSession::cancel() noexcept {
  if (connected_ && !welcomed_) channel_->abort();
}

void SinkSession::say_goodbye(const std::string& kind, const Error& error) {
  if (!control_) return;
  Status said;
  // One that has given up is not read any more, and waits to be told that this has been heard.
  if (!context_.signals.look().closed || error.at_peer) {
    said = control_->send(wire::Abort{kind, error.message}, Deadline::in(kGoodbyePatience));
  }
  (void)channel_->shut_down();
  if (!said && said.error().kind == ErrorKind::kTimedOut) channel_->abort();
}

void SinkSession::close() {
  context_.signals.await([](const SourceSignals& s) { return s.closed; }, kGoodbyePatience);
  abort();
}

void SinkSession::abort() noexcept {
  if (channel_) channel_->abort();
}

void SinkSession::read_control() {
  while (true) {
    if (Status read = read_message(); !read) {
      if (!parting_) context_.lose_link(std::move(read).error());
      break;
    }
    const auto signals = context_.signals.look();
    const bool runs_there = signals.done || context_.parts.resumes;
    const bool lacks_some = (signals.early || context_.parts.resumes) && !signals.last_fence;
    if (runs_there && !lacks_some) break;
  }
  context_.signals.change([](SourceSignals& s) { s.closed = true; });
}

Status SinkSession::read_message() {
  const auto asked = context_.now();
  auto message = control_->receive();
  const auto at = context_.now();
  if (!message) {
    // Whoever is stuck in a send on it must not keep the guest paused.
    Error error = lost(std::move(message).error(), at);
    if (!parting_) context_.lose_link(error);
    channel_->abort();
    return fail(std::move(error));
  }
  context_.signals.change([&](SourceSignals& s) { s.heard_at = at; });
  TRY(take(*message, at));
  // Last, so that a sink's last word is an error before it can be a sign of life.
  if (at - asked >= kAwaited) context_.signals.change([&](SourceSignals& s) { s.awaited_since = asked; });
  return {};
}

Error SinkSession::lost(Error error, Instant at) const {
  Error lost = std::move(error).in("the connection to the destination");
  if (lost.kind == ErrorKind::kTimedOut) lost.kind = ErrorKind::kPeerLost;
  // What it sends arrives, and what is sent to it is confirmed no more.
  const bool one_way = lost.os_error == ETIMEDOUT && at - context_.signals.look().heard_at < kFreshness;
  if (one_way) lost.message += fmt::format("; {}", kMtuHint);
  return lost;
}

/// What the sink says becomes a signal, or the error that ends the migration.
Status SinkSession::take(const wire::Message& message, Instant at) {
  auto& signals = context_.signals;
  const auto before = signals.look();
  if (const auto* fenced = std::get_if<wire::Fenced>(&message)) {
    context_.parts.log.info("fence", {{"number", fenced->fence}});
    signals.change([&](SourceSignals& s) {
      s.fence = std::max(s.fence, fenced->fence);
      s.last_fence = s.fence == kLastFence;
      s.fenced_at = at;
      if (fenced->fence == kMissingFence) ++s.taken_ahead;
      if (s.fence >= kDevicesFence && !s.devices_fenced_at) s.devices_fenced_at = at;
    });
  } else if (std::holds_alternative<wire::MapApplied>(message)) {
    signals.change([](SourceSignals& s) { s.map_applied = true; });
  } else if (std::holds_alternative<wire::Prepared>(message)) {
    if (!before.last_fence && !(before.early && before.fence >= kDevicesFence)) {
      return fail(ErrorKind::kProtocol, "the destination was prepared before it had the guest's memory");
    }
    signals.change([&](SourceSignals& s) {
      s.prepared = true;
      s.prepared_at = at;
    });
  } else if (const auto* done = std::get_if<wire::Done>(&message)) {
    if (!before.committing) {
      return fail(ErrorKind::kProtocol, "the destination says that it runs a guest that was not committed");
    }
    signals.change([&](SourceSignals& s) {
      s.done = *done;
      s.done_at = at;
    });
  } else if (const auto* map = std::get_if<wire::MissingMap>(&message)) {
    return add_missing(*map);
  } else if (std::holds_alternative<wire::MissingMapEnd>(message) && context_.parts.resumes) {
    signals.change([](SourceSignals& s) { s.map_told = true; });
  } else if (const auto* abort = std::get_if<wire::Abort>(&message)) {
    // Before a commit nobody asked, and it means nothing more than any Abort.
    if (abort->never_ran && before.committing) signals.change([](SourceSignals& s) { s.never_ran = true; });
    return fail(why_the_sink_gave_up(*abort));
  } else if (!std::holds_alternative<wire::Heartbeat>(message)) {
    return fail(ErrorKind::kProtocol, "the destination sent a message that only a source sends");
  }
  return {};
}

}  // namespace godwit
