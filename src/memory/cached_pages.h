// Which pages of a file in memory are there, asked about runs of pages.
//
// KERNEL: cachestat, Linux 6.5. It counts a run's pages 5 to 10 times as fast as SEEK_DATA walks over them, because it
// looks at no page. It does not count what has been swapped out.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "memory/page.h"

namespace godwit {

/// tmpfs or memfd. A disk's file has cached pages for its holes too, once they have been read.
bool lives_in_memory(int fd) noexcept;

/// For a file in memory. Of `pages` (a word per chunk; the first page lies at `offset` in the file, in bytes) clears
/// runs that are in the page cache. What is left may still be there: swapped out, or too short a run to be asked about
/// alone. False, and nothing of use done, where the kernel does not tell.
Result<bool> clear_cached_pages(int fd, std::uint64_t offset, std::span<PageWord> pages);

}  // namespace godwit
