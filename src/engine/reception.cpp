#include "engine/reception.h"

#include <fmt/format.h>

#include "base/units.h"
#include "engine/lane_shares.h"
#include "wire/limits.h"

namespace godwit {

namespace {
// From Welcome to the data map a source begins to track, for which it may have to wait until a dead engine's process
// has let go of its guest (100 s), and looks for data. One that beats and sends no map would keep all others out.
constexpr Duration kDataMapPatience = std::chrono::seconds(120);
constexpr Duration kDataMapPatiencePerGiB = std::chrono::milliseconds(500);
// A source that is gone for good keeps a hypervisor for as long.
constexpr std::uint32_t kMostLinkPatienceMs = 600'000;
// Whoever has been told that it is late may read that.
constexpr Duration kGoPatience = std::chrono::seconds(2);
}  // namespace

/// A source opens its lanes before it says Hello, and is told which of them have come: a firewall may have let some
/// through only. One that opens them after Welcome must open all.
Result<Reception::Connections> Reception::welcome() {
  const auto& hello = session_.hello();
  auto warnings = TRY(admit());
  wire::Welcome welcome{.fingerprint = context_.parts.fingerprint,
                        .program = context_.parts.program,
                        .warnings = std::move(warnings),
                        .keeps_paused = true,
                        .stay_paused = true,
                        .direct = hello.direct && context_.vm->way() == DeviceWay::kDirect,
                        .why_stream = hello.direct ? context_.vm->why_stream() : std::string(),
                        .lane_chunks = static_cast<std::uint16_t>(LaneShares::agreed(hello.lane_chunks)),
                        .link_patience_ms = std::min(hello.link_patience_ms, kMostLinkPatienceMs)};
  context_.link_patience = std::chrono::milliseconds(welcome.link_patience_ms);
  const bool open = hello.open_lanes != 0;
  std::vector<GreetedLane> lanes;
  if (open) {
    lanes = TRY(session_.await_lanes(false));
    welcome.lanes.emplace();
    for (const GreetedLane& lane : lanes) welcome.lanes->push_back(lane.number);
  }
  Connections connections;
  if (hello.postcopy) {
    if (auto opened = open_missing_pages(lanes)) {
      connections.missing_pages = *std::move(opened);
      welcome.postcopy = true;
    } else {
      welcome.why_not_postcopy = opened.error().message;
    }
  }
  expect_map();  // a source that has read Welcome can count on its time running
  TRY(session_.control().send(welcome));
  context_.enter(SinkState::kWelcomed);
  session_.begin_beating();
  if (!open) lanes = TRY(session_.await_lanes(true));
  if (lanes.size() < hello.lanes) {
    context_.note(fmt::format("{} of {} lanes have come; the move goes on with these", lanes.size(), hello.lanes));
  }
  context_.parts.on_milestone(Milestone::kWelcomed);
  for (GreetedLane& lane : lanes) connections.lanes.push_back(std::move(lane.channel));
  if (connections.missing_pages) {
    connections.urgent = std::move(connections.lanes.back());
    connections.lanes.pop_back();
  }
  return connections;
}

/// kUnsupported, and the like: the guest cannot be run here before all of it is.
Result<std::unique_ptr<MissingPages>> Reception::open_missing_pages(const std::vector<GreetedLane>& lanes) const {
  const auto& hello = session_.hello();
  if (hello.open_lanes < 2 || lanes.size() < 2 || lanes.back().number != hello.open_lanes - 1) {
    return fail(ErrorKind::kPeerLost, "the connection for urgent pages did not come");
  }
  return context_.vm->open_missing_pages();
}

/// Warnings for both operators; or the source has been told why it is refused.
Result<std::vector<std::string>> Reception::admit() {
  const auto& parts = context_.parts;
  const auto& hello = session_.hello();
  Fit found = fit(hello.fingerprint, parts.fingerprint, parts.lenience, parts.match_samples);
  auto& reasons = found.refusals;
  if (hello.resume) {
    reasons = {
        "it goes on with a post-copy that broke off, and this QEMU waits for a new VM: start `godwit receive "
        "--resume` with the QEMU that has the guest"};
  }
  if (hello.lanes < 1 || hello.lanes > wire::kMaxLanes) {
    reasons.push_back(fmt::format("it asks for {} lanes, 1 to {} are possible", hello.lanes, wire::kMaxLanes));
  }
  turned_away_ = !reasons.empty();
  if (reasons.empty()) {
    if (auto vm = parts.open_vm(hello.fingerprint, hello.direct ? DeviceWay::kDirect : DeviceWay::kStream)) {
      context_.vm = *vm;
    } else {
      reasons.push_back(vm.error().message);
    }
  }
  if (!reasons.empty()) {
    const auto reason = fmt::format("{}", fmt::join(reasons, "; "));
    parts.log.warning("refusal", {{"reason", reason}});
    (void)session_.control().send(wire::Refusal{reason});
    return fail(ErrorKind::kRefused, "the VM that was offered does not fit: " + reason);
  }
  for (const auto& warning : found.warnings) context_.note("warning: " + warning);
  return std::move(found.warnings);
}

void Reception::expect_map() {
  std::uint64_t bytes = 0;
  for (const auto& block : context_.parts.fingerprint.blocks) bytes += block.size;
  const Duration patience = kDataMapPatience + static_cast<std::int64_t>(bytes / kGiB) * kDataMapPatiencePerGiB;
  const auto& clock = context_.parts.clock;
  map_is_late_.emplace(clock, patience, [this] {
    session_.fail_with(Error{ErrorKind::kTimedOut, "timed out waiting for the source's data map"});
  });
  source_stays_.emplace(clock, patience + kGoPatience, [this] { session_.cut(); });
}

Status Reception::end() {
  map_is_late_.reset();
  source_stays_.reset();
  if (auto error = context_.error.get()) return fail(*error);
  session_.refuse_others("another VM is just being moved to this QEMU");
  return {};
}

}  // namespace godwit
