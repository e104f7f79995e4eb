// Finds the buffers of disk requests in flight by reading the guest's virtqueues (split rings).
#pragma once

#include <memory>
#include <vector>

#include "memory/guest_memory.h"
#include "tracking/disk_writes.h"

namespace godwit {

/// One split virtqueue of a disk controller, guest-physical addresses.
struct Virtqueue {
  std::uint64_t descriptors = 0;
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  std::uint16_t size = 0;
};

/// A stretch of guest-physical addresses that is RAM.
struct PhysicalRange {
  std::uint64_t address = 0;  ///< guest-physical
  std::uint64_t length = 0;
  std::size_t block = 0;     ///< index into RamLayout::blocks()
  std::uint64_t offset = 0;  ///< of the range in the block
};

/// `queues` is asked anew at each call: a guest may reset a device or bring up another queue at any time. The callback
/// gives kHypervisor if it cannot tell.
using ListVirtqueues = std::function<Result<std::vector<Virtqueue>>()>;
std::unique_ptr<DiskWrites> read_virtqueues(const GuestMemory& memory, std::vector<PhysicalRange> ranges,
                                            ListVirtqueues queues);

}  // namespace godwit
