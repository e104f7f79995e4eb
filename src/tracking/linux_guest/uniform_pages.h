// Pages whose bytes are all the same: free pages of a guest that clears or poisons them look so.
#pragma once

#include <span>

#include "memory/guest_memory.h"

namespace godwit::linux_guest {

/// Clears of `pages` (by chunk, for all chunks) those whose bytes are all the same, and those without data, which it
/// finds without touching them. Of most other pages it reads the first bytes only. What is left after `most` pages have
/// been looked at is cleared unseen. `uniform`: pages that earlier calls found, which are cleared without a look; what
/// is found is added.
Status drop_uniform(GuestMemory& memory, std::span<PageWord> pages, std::span<PageWord> uniform, std::uint64_t most);

}  // namespace godwit::linux_guest
