#include "engine/takeover.h"
#include "base/cpu_account.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>

namespace godwit {

namespace {
using std::chrono::milliseconds;
// Between two tries to let the guest run, which is paused meanwhile: longer and longer, because storage with errors is
// not helped by being asked all the time.
constexpr Duration kFirstRetry = milliseconds(20);
constexpr Duration kLongestRetry = milliseconds(250);
constexpr Duration kNoteEvery = std::chrono::seconds(10);
// The source beats once a second. What had to be waited for was not lying in the socket: it tells of now.
constexpr Duration kBeatPatience = std::chrono::seconds(3);
constexpr Duration kBeatAwaited = milliseconds(300);

std::uint64_t microseconds(Duration d) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(d).count());
}
}  // namespace

Status Takeover::run() {
  const auto committed = context_.now();
  // It only tells more to who comes after a dead engine; of a guest that lacks memory it is on record already.
  if (!context_.early) (void)context_.parts.journal.starting();
  context_.parts.on_milestone(Milestone::kCommitted);
  TRY(let_run());
  context_.enter(SinkState::kRunning);
  took_ = context_.now() - committed;
  return {};
}

Status Takeover::let_run() {
  // One that ended before it was asked to run anything has run nothing.
  if (Status alive = context_.vm->check_alive(); !alive) return give_back(std::move(alive).error());
  if (!session_.stays_paused()) return try_until_it_runs();
  if (Status stays = context_.vm->stay_paused(); !stays) return give_back(std::move(stays).error());
  return {};
}

/// What keeps the hypervisor from running the guest may pass: another program's lock on its disk, storage that returns
/// errors. The source waits as long as this side is alive.
Status Takeover::try_until_it_runs() {
  const auto patience = context_.parts.start_patience;
  const auto deadline = context_.now() + patience;
  auto pause = kFirstRetry;
  std::optional<Instant> noted;
  while (true) {
    Status started = context_.vm->resume();
    if (started) return started;
    Error refused = std::move(started).error();
    if (refused.kind != ErrorKind::kRefused) {
      return fail(std::move(refused).in("the guest could not be started after the commit"));
    }
    const auto at = context_.now();
    if (at >= deadline) {
      refused.message =
          fmt::format("QEMU there refused to let the guest run, for {} s ({})",
                      std::chrono::duration_cast<std::chrono::seconds>(patience).count(), refused.message);
      return give_back(std::move(refused));
    }
    if (!noted || at - *noted >= kNoteEvery) {
      noted = at;
      context_.note(fmt::format("QEMU does not let the guest run yet ({}); trying again for {} s", refused.message,
                                std::chrono::duration_cast<std::chrono::seconds>(deadline - at).count() + 1));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, kLongestRetry);
  }
}

/// What is held here may be the only copy: a source that is lost, or whose hypervisor has ended, keeps nothing to take
/// back. All that it has said meanwhile lies unread in the socket.
bool Takeover::source_can_take_it_back() {
  session_.control().set_silence(kBeatPatience);
  while (true) {
    const auto asked = context_.now();
    const auto message = session_.control().receive();
    if (!message || !std::holds_alternative<wire::Heartbeat>(*message)) return false;
    if (context_.now() - asked >= kBeatAwaited) return true;
  }
}

/// The source may run the guest again if it is certain that nobody else does or will. An engine that dies in here
/// leaves the source in doubt, and the guest stopped on both sides.
tl::unexpected<Error> Takeover::give_back(Error refused) {
  refused.kind = ErrorKind::kHypervisor;
  if (!source_can_take_it_back()) {
    refused.message += "; the source cannot be heard or has lost its QEMU, so the guest is kept here";
    return fail(std::move(refused));
  }
  const auto ended = session_.end_unrun();
  never_ran_ = ended.has_value();
  refused.message += "; ";
  refused.message += ended ? "the guest never ran there, and that QEMU has been ended" : ended.error().message;
  return fail(std::move(refused));
}

void Takeover::follow_up(const DeviceLoader& loader, IncomingRam& ram) {
  // A source that cannot hear it any more is in doubt, but nothing is lost.
  const Status told = session_.control().send(wire::Done{.commit_to_resume_us = microseconds(took_),
                                                         .cpu_us = microseconds(job_cpu_time()),
                                                         .peak_rss = session_.peak_memory(),
                                                         .device_load_us = microseconds(loader.took())});
  context_.parts.on_milestone(Milestone::kResumed);
  if (!session_.stays_paused()) {
    if (const Status announced = context_.vm->announce(); !announced) {
      context_.note("the guest runs, but not all could be done after its start: " + announced.error().message);
    }
    ram.warm_up();
  }
  if (!told) context_.note("the guest runs here, but the source could not be told: " + told.error().message);
}

}  // namespace godwit
