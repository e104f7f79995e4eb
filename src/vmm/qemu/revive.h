// For a VM that an engine left behind when it died.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attach/remote_process.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

enum class Revival {
  kRuns,      ///< it runs, or waits for its user to wake it: nothing was done
  kLetRun,    ///< the dead engine had paused it, and it runs now
  kNotOurs,   ///< it is paused, not certainly by the engine: left alone
  kUnderWay,  ///< a migration that somebody else has begun is under way: left alone
};

struct Revived {
  Revival what = Revival::kRuns;
  std::string why;  ///< where it was left alone: words that follow "because"
};

/// Lets a guest run on that is paused after a hand-over if `mark` fits: what the engine recorded when it had seen the
/// guest paused; empty if it had not. Waits for QEMU to come to rest, and cancels nothing: it may be somebody else's.
///
/// DANGER: a guest that was committed to another host may run there. Only who knows by the journal that there was no
/// commit may call this; SourceVm never does.
Result<Revived> revive_after_handover(Qmp& qmp, std::string_view mark);

/// The same for a guest that was stopped for a moment around a harvest.
Result<Revived> revive_after_pause(Qmp& qmp, const RemoteProcess& process, std::string_view mark);

/// Of a guest that was given to another host with this mark: whether it has certainly been let run here since.
Result<bool> has_run_since(Qmp& qmp, const RemoteProcess& process, std::string_view mark);

/// The mark of a guest that has just been stopped with `stop`; empty where it cannot be told. The virtual clock, where
/// it is known, tells to the nanosecond whether the guest has run since.
std::string mark_of_pause(const RemoteProcess& process, const std::vector<pid_t>& vcpu_threads,
                          std::optional<std::uint64_t> virtual_clock = std::nullopt);
bool is_mark_of_pause(std::string_view mark);

/// Waits until no migration is under way, without ending any: false if one still is after a while.
Result<bool> at_rest(Qmp& qmp);

}  // namespace godwit::qemu
