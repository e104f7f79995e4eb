// The steps of a remote system call, for tests that kill the caller at each of them. Others call remote_syscall().
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "attach/remote_process.h"

namespace godwit {

enum class CallStep {
  kSeized,             ///< traced, still running
  kInterrupting,       ///< asked to stop
  kStopped,            ///< is stopped
  kStateRead,          ///< its registers, extended state and signal mask are known
  kAllowed,            ///< and no seccomp filter of it forbids what follows
  kFrameWritten,       ///< the signal frame lies below its red zone
  kRegistersWritten,   ///< from here to kRegistersRestored it would make the call and come back by itself
  kSignalsBlocked,     ///< so that no handler runs in between
  kCallBegun,          ///< is stopped at the beginning of the call
  kCallEnded,          ///< is stopped at its end
  kMaskRestored,       ///< signals as before
  kRegistersRestored,  ///< all as before
  kLetGo,              ///< runs
};
inline constexpr int kCallSteps = 13;

/// As remote_syscall_returns(); tells `on_step` after each step, from a thread of its own.
Result<std::int64_t> remote_syscall_in_steps(const RemoteProcess& process, long number,
                                             const std::array<std::uint64_t, 6>& arguments,
                                             const std::function<void(CallStep)>& on_step);

}  // namespace godwit
