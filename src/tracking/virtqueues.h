// Finds the buffers of disk requests in flight by reading the guest's virtqueues (split rings).
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "memory/guest_physical.h"
#include "tracking/disk_writes.h"

namespace godwit {

/// One split virtqueue of a disk controller, guest-physical addresses.
struct Virtqueue {
  std::uint64_t descriptors = 0;
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  std::uint16_t size = 0;
};

/// `queues` is asked again at each call: a guest may reset a device or bring up another queue at any time. The callback
/// gives kHypervisor if it cannot tell.
using ListVirtqueues = std::function<Result<std::vector<Virtqueue>>()>;
std::unique_ptr<DiskWrites> read_virtqueues(const GuestMemory& memory, std::vector<PhysicalRange> ranges,
                                            ListVirtqueues queues);

}  // namespace godwit
