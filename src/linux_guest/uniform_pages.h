// Pages whose bytes are all the same: free pages of a guest that clears or poisons them look so.
#pragma once

#include <span>

#include "memory/guest_memory.h"

namespace godwit::linux_guest {

/// Keeps of `pages` (by chunk from `first`) those whose bytes are all the same. Of most others it reads the first bytes
/// only. To look at a page without data would allocate it.
Status keep_uniform(GuestMemory& memory, ChunkIndex first, std::span<PageWord> pages);

}  // namespace godwit::linux_guest
