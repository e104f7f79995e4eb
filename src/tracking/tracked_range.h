// A stretch of the hypervisor's memory that is tracked.
#pragma once

#include <cstdint>

#include "memory/page.h"

namespace godwit {

/// Where a RAM block lies in the hypervisor's address space.
struct TrackedRange {
  std::uint64_t address = 0;  ///< page aligned
  std::uint64_t length = 0;   ///< bytes
  ChunkIndex first_chunk;     ///< of the block
};

}  // namespace godwit
