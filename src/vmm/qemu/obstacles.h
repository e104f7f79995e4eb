// What keeps a VM from being moved: memory that no page table sees being written, memory that cannot be read, state
// that QEMU itself will not migrate.
#pragma once

#include "vmm/qemu/ram_blocks.h"

namespace godwit::qemu {

Result<std::vector<Obstacle>> find_obstacles(Qmp& qmp, const RemoteProcess& process, const Ram& ram);

/// Those that QEMU's monitor tells of: all but other processes that map the RAM.
Result<std::vector<Obstacle>> ask_for_obstacles(Qmp& qmp, const Ram& ram);

/// Those that may have come since a VM that runs was first looked at: all but its state. `migrates`: because it was
/// told to, for this move.
Result<std::vector<Obstacle>> find_new_obstacles(Qmp& qmp, const RemoteProcess& process, const Ram& ram, bool migrates);

}  // namespace godwit::qemu
