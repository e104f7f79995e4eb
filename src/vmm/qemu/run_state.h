// QEMU's run states (query-status, and the "globalstate" section of its stream), in words for the operator.
#pragma once

#include <optional>
#include <string_view>

#include "vmm/hypervisor.h"

namespace godwit::qemu {

/// What it means that a guest is in this state and the engine has not brought it there; nothing if it runs, or is
/// paused only for a moment that passes by itself (savevm).
std::optional<Halt> halt_of(std::string_view run_state);

/// A guest that somebody has paused, or that was never started: it can be moved as it is.
inline bool is_paused(std::string_view run_state) noexcept {
  return run_state == "paused" || run_state == "prelaunch";
}

}  // namespace godwit::qemu
