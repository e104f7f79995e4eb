// Where the virtqueues of direct disks lie now, for whoever looks for disk requests in flight.
#pragma once

#include "vmm/qemu/inspection.h"

namespace godwit::qemu {

/// A split virtqueue, guest-physical addresses.
struct VirtqueueAddresses {
  std::uint64_t descriptors = 0;
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  std::uint16_t size = 0;
};

/// The request queues that exist now of the direct disks' controllers. kUnsupported, by name, where a direct disk is
/// not on a readable virtio controller (a guest may turn packed rings on at any time).
///
/// Nothing is remembered: a guest can reset a device and set it up again between two calls, and nothing that QEMU tells
/// would show it. A call costs 0.3-0.6 ms for each controller and each of its queues, while the guest runs. It is not
/// needed after the guest has stopped: QEMU has then drained its disks, and no request is in flight.
Result<std::vector<VirtqueueAddresses>> list_disk_queues(Qmp& qmp, const Inspection& inspection);

}  // namespace godwit::qemu
