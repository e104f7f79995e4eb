// Pages whose bytes are all the same: free pages of a guest that clears or poisons them look so.
#pragma once

#include <span>

#include "memory/guest_memory.h"

namespace godwit::linux_guest {

/// Keeps of `pages` (by chunk from `first`) those whose bytes are all the same, and those without data, which it finds
/// without touching them. Of most other pages it reads the first bytes only.
Status keep_uniform(GuestMemory& memory, ChunkIndex first, std::span<PageWord> pages);

}  // namespace godwit::linux_guest
