// The first blocks of a guest's RAM as a memory of their own, with the same chunk numbers.
#pragma once

#include <memory>

#include "memory/guest_memory.h"

namespace godwit {

/// `whole` outlives it, and has at least `count` blocks.
Result<std::unique_ptr<GuestMemory>> first_blocks(GuestMemory& whole, std::size_t count);

}  // namespace godwit
