// Pages of the destination's disk images that lie in this host's page cache.
//
// When QEMU lets a guest run that has come in, it drops them first, for they may be old (raw images without
// cache.direct, `cont`, posix_fadvise). That takes 100 ms and more for 256 MiB of which some is dirty, with the guest
// paused: on a host where both QEMUs run, or where something has just read or written the image. So they are dropped
// beforehand, while the guest still runs at the source, and QEMU finds little to do.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "attach/remote_process.h"
#include "vm/disk.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

class CachedImages {
 public:
  /// `process` outlives it.
  CachedImages(Qmp& qmp, const RemoteProcess& process, const std::vector<Disk>& disks);

  /// On a thread of its own; nobody waits for storage. Does nothing while it is at work. Best effort.
  void drop();

 private:
  void add(Qmp& qmp, const Disk& disk);
  const RemoteProcess& process_;
  std::vector<std::string> paths_;
  std::atomic<bool> at_work_{false};
  std::jthread worker_;
};

}  // namespace godwit::qemu
