// The disks that QEMU reads past the page cache, and the virtio devices that they hang on.
#pragma once

#include "vmm/qemu/inspection.h"

namespace godwit::qemu {

Result<std::vector<DirectDisk>> find_direct_disks(Qmp& qmp);

/// Whether a virtio device's rings can be read now: split ones, of plain guest-physical addresses. `status` is the
/// answer of x-query-virtio-status.
bool has_readable_rings(const Json& status);

}  // namespace godwit::qemu
