// QEMU's run states (query-status, and the "globalstate" section of its stream), in words for the operator.
#pragma once

#include <optional>
#include <string_view>

#include "vmm/hypervisor.h"

namespace godwit::qemu {

/// What it means that a guest is in this state and the engine has not brought it there; nothing if it runs, or is
/// paused only for a moment that passes by itself (savevm).
std::optional<Halt> halt_of(std::string_view run_state);

/// Whether this version of QEMU moves a guest that is suspended to RAM (S3) without waking it.
bool keeps_suspension(std::string_view version);
/// Why such a guest is not moved by one that does not, nor by QEMU's own migration.
tl::unexpected<Error> cannot_move_suspended();

/// A guest that somebody has paused, or QEMU because of a disk error, or that was never started: it can be moved as it
/// is.
inline bool is_paused(std::string_view run_state) noexcept {
  return run_state == "paused" || run_state == "prelaunch" || run_state == "io-error";
}

}  // namespace godwit::qemu
