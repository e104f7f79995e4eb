// Pages of the destination's disk images that lie in this host's page cache.
//
// When QEMU lets a guest run that has come in, it drops them first, for they may be old (raw images without
// cache.direct, `cont`, posix_fadvise). That takes 100 ms and more for 256 MiB of which some is dirty, with the guest
// paused: on a host where both QEMUs run, or where something has just read or written the image. So they are dropped
// beforehand, while the guest still runs at the source, and QEMU finds little to do.
#pragma once

#include <thread>
#include <vector>

#include "attach/remote_process.h"
#include "vm/disk.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Drops them, of the images' layers too, on a thread of its own, so that nobody waits for storage. Best effort; ends
/// within seconds, whatever does not answer. `process` outlives the thread.
std::jthread drop_cached_images(Qmp& qmp, const RemoteProcess& process, const std::vector<Disk>& disks);

}  // namespace godwit::qemu
