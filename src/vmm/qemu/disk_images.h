// The VM's disks as values: which device of the guest each belongs to, and what is under it.
#pragma once

#include <vector>

#include "attach/remote_process.h"
#include "vm/disk.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Disks that a device of the guest uses. What cannot be opened or looked into is told as far as QEMU tells it.
Result<std::vector<Disk>> list_disks(Qmp& qmp, const RemoteProcess& process);

/// Takes samples of the content, of backing images too, for the sink to compare. Best effort: a disk that cannot be
/// read gets none. An error only if there is no random key.
Status sample_disks(Qmp& qmp, const RemoteProcess& process, std::vector<Disk>& disks);

/// Whether the sink's image has what the source's samples say; nothing read where it cannot be.
DiskMatch match_disk(Qmp& qmp, const RemoteProcess& process, const Disk& source, const Disk& sink);

}  // namespace godwit::qemu
