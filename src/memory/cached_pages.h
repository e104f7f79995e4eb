// Which pages of a file in memory are there, asked about runs of pages.
//
// KERNEL: cachestat, Linux 6.5. It counts a run's pages 5 to 10 times as fast as SEEK_DATA walks over them, for it
// looks at no page. What has been swapped out does not count as there.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "memory/page.h"

namespace godwit {

/// Of `pages` (a word per chunk; the first page lies at `offset` in the file, in bytes) clears those in the page cache.
/// False, and nothing
/// of use done, where kernel or file system do not tell (hugetlbfs, a disk).
Result<bool> clear_cached_pages(int fd, std::uint64_t offset, std::span<PageWord> pages);

}  // namespace godwit
