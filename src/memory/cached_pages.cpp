#include "memory/cached_pages.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace godwit {

namespace {

// As the kernel defines them, for systems whose headers are older than their kernel.
constexpr long kCachestat = 451;
struct FileRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};
struct CacheCounts {
  std::uint64_t cached = 0;
  std::uint64_t dirty = 0;
  std::uint64_t under_writeback = 0;
  std::uint64_t evicted = 0;
  std::uint64_t recently_evicted = 0;
};

/// A disk's file has cached pages for its holes too, once they have been read.
bool lives_in_memory(int fd) noexcept {
  struct statfs status {};
  return ::fstatfs(fd, &status) == 0 && status.f_type == TMPFS_MAGIC;
}

struct PageRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// Runs go on from word to word: the fewer questions, the better.
std::vector<PageRun> runs_of(std::span<const PageWord> pages) {
  std::vector<PageRun> runs;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    for_each_run(PageWord{pages[i]}, [&](unsigned start, unsigned length) {
      const std::uint64_t first = i * kPagesPerChunk + start;
      if (!runs.empty() && runs.back().first + runs.back().count == first) {
        runs.back().count += length;
      } else {
        runs.push_back({first, length});
      }
    });
  }
  return runs;
}

class CacheQuestions {
 public:
  CacheQuestions(int fd, std::uint64_t offset, std::span<PageWord> pages) : fd_(fd), offset_(offset), pages_(pages) {}

  /// Halves a run until its parts are there as wholes or missing as wholes.
  Result<bool> settle(std::uint64_t first, std::uint64_t count) {
    FileRange range{offset_ + first * kPageSize, count * kPageSize};
    CacheCounts counts;
    if (::syscall(kCachestat, fd_, &range, &counts, 0) != 0) {
      if (errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM) return false;
      return fail_os("look into the page cache");
    }
    if (counts.cached == 0) return true;
    if (counts.cached >= count) {
      clear(first, count);
      return true;
    }
    const std::uint64_t half = count / 2;
    if (!TRY(settle(first, half))) return false;
    return settle(first + half, count - half);
  }

 private:
  void clear(std::uint64_t first, std::uint64_t count) noexcept {
    while (count != 0) {
      const std::uint64_t bit = first % kPagesPerChunk;
      const std::uint64_t here = std::min(count, kPagesPerChunk - bit);
      pages_[first / kPagesPerChunk] &= ~((kAllPages >> (kPagesPerChunk - here)) << bit);
      first += here;
      count -= here;
    }
  }

  int fd_;
  std::uint64_t offset_;
  std::span<PageWord> pages_;
};

}  // namespace

Result<bool> clear_cached_pages(int fd, std::uint64_t offset, std::span<PageWord> pages) {
  if (!lives_in_memory(fd)) return false;
  CacheQuestions questions(fd, offset, pages);
  for (const PageRun& run : runs_of(pages)) {
    if (!TRY(questions.settle(run.first, run.count))) return false;
  }
  return true;
}

}  // namespace godwit
