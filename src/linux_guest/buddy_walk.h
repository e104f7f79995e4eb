// The guest's free blocks, from its struct pages.
//
//   frame    0   1   2   3   4   5   6   7   8 ...
//            |used   |free, order 1  |free, order 2 ...     only a block's first struct page is marked
#pragma once

#include <cstdint>
#include <span>

#include "linux_guest/struct_pages.h"

namespace godwit::linux_guest {

/// Adds the pages of all free blocks to `out` (by chunk, for all chunks); gives how many pages they have, with those
/// that are not RAM here.
std::uint64_t mark_free(const Vmcoreinfo& info, const MemorySections& sections, const PageFrames& frames,
                        StructPages& struct_pages, std::span<PageWord> out);

/// Clears those of `pages` that no free block covers; looks only at struct pages that could begin one that does.
void keep_covered(const Vmcoreinfo& info, const PageFrames& frames, StructPages& struct_pages,
                  std::span<PageWord> pages);

}  // namespace godwit::linux_guest
