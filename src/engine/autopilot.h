// The autopilot: when to go on, switch over or give up. A pure function: no clock, no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/clock.h"
#include "engine/goals.h"

namespace godwit {

/// What the coordinator knows at one moment.
struct Sample {
  Duration elapsed{};                   ///< since the migration began
  bool drained = false;                 ///< nothing waits, and the sink has applied all that was sent
  std::uint64_t harvests = 0;           ///< made so far
  std::uint64_t last_harvest = 0;       ///< pages found written by the latest harvest
  Duration last_interval{};             ///< the time which that harvest covered
  std::uint64_t harvest_before = 0;     ///< as last_harvest, of the one before it; 0: there was none
  Duration interval_before{};           ///< and the time which that one covered
  Duration since_harvest{};             ///< how long ago it was
  std::uint64_t deferred = 0;           ///< pages that the next harvest posts again because of disk requests in flight
  double wire_bytes_per_second = 0;     ///< what the lanes manage while they are busy; 0: not known yet
  double wire_bytes_per_page = 0;       ///< of pages with data, compressed as they go
  Duration scan{};                      ///< what looking for written pages took: lies in the pause once more
  Duration rechecks{};                  ///< likewise, looking for pages that were given back or are not free any more
  std::uint64_t device_bytes = 0;       ///< what its devices are expected to weigh
  std::uint64_t ram_pages = 0;          ///< of the guest: no harvest finds more; 0: not known
  bool first_pass_over = false;         ///< what waits now has all been sent before
  bool paused = false;                  ///< the guest: it writes nothing, and no pause of it can be too long
  double share = 1;                     ///< of a CPU that each vCPU may use; 1: it is not slowed down
  std::uint64_t harvests_at_share = 0;  ///< since it has been so
  bool early = false;                   ///< it is to run at the sink before all of it is there
  bool handing_over = false;            ///< the hypervisor has been asked to stop the guest
  Duration since_handover{};            ///< how long ago that was
};

struct GoOn {};
struct Harvest {};
struct SwitchOver {
  Duration predicted_pause{};
};
/// Pre-copy does not come to an end in time: the guest shall run at the sink with what is there.
struct PostCopy {
  std::string reason;
};
/// Its vCPUs shall have this share of a CPU each.
struct SlowDown {
  double share = 1;
};
struct GiveUp {
  std::string reason;
};
using Verdict = std::variant<GoOn, Harvest, SwitchOver, SlowDown, PostCopy, GiveUp>;

/// The pause if the guest were stopped now: saving, sending and loading devices, the last look at what was written, and
/// the pages written since the last harvest. Absent until a harvest has been made and, if pages are expected, a send
/// rate is known.
std::optional<Duration> predict_pause(const Sample& sample);

/// Why the guest cannot be moved within its bounds as things are, in a sentence for the operator; nothing while memory
/// is copied for the first time, and for a few rounds after that.
std::optional<std::string> trouble(const Goals& goals, const Sample& sample);

Verdict decide(const Goals& goals, const Sample& sample);

/// What a round of copying is like; a round lasts from one harvest to the next.
struct Round {
  bool leaves_out = true;     ///< pages that the guest has free are left out of it
  bool posted_again = false;  ///< pages that had been left out were posted after all
};

enum class Step {
  kGoOn,
  kHarvest,
  kHarvestForAll,    ///< begins a round that leaves nothing out
  kHarvestNearStop,  ///< while the hypervisor gets ready to stop the guest, so that little is left for the pause
  kHandOver,         ///< unless something else has to wait
  kHandOverEarly,    ///< the guest runs at the sink before all of it is there
};

std::string_view name_of(Step step) noexcept;  ///< "go-on", "harvest", ...

/// What a verdict other than GiveUp comes to in this round.
Step next_step(const Verdict& verdict, const Round& round, const Sample& sample);
/// The round that a step begins, if it is one of those that harvest; else the same round.
Round round_after(Step step, const Round& round);

}  // namespace godwit
