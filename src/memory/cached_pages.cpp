#include "memory/cached_pages.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

namespace godwit {

namespace {

// Below this many pages a further question costs more than it saves.
constexpr std::uint64_t kNotHalved = 16;

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

class CacheQuestions {
 public:
  CacheQuestions(int fd, std::uint64_t offset, std::span<PageWord> pages) : fd_(fd), offset_(offset), pages_(pages) {}

  /// Halves a run until its parts are there as wholes, missing as wholes, or small.
  Result<bool> settle(std::uint64_t first, std::uint64_t count) {
    FileRange range{offset_ + first * kPageSize, count * kPageSize};
    CacheCounts counts;
    if (::syscall(kCachestat, fd_, &range, &counts, 0) != 0) {
      if (errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM) return false;
      return fail_os("look into the page cache");
    }
    if (counts.cached == 0 || (count <= kNotHalved && counts.cached < count)) return true;
    if (counts.cached >= count) {
      drop_pages(pages_, first, count);
      return true;
    }
    const std::uint64_t half = count / 2;
    if (!TRY(settle(first, half))) return false;
    return settle(first + half, count - half);
  }

 private:
  int fd_;
  std::uint64_t offset_;
  std::span<PageWord> pages_;
};

}  // namespace

Result<bool> clear_cached_pages(int fd, std::uint64_t offset, std::span<PageWord> pages) {
  if (!lives_in_memory(fd)) return false;
  CacheQuestions questions(fd, offset, pages);
  // The runs first: answers change the words.
  for (const PageRun& run : runs_of(pages)) {
    if (!TRY(questions.settle(run.first, run.count))) return false;
  }
  return true;
}

}  // namespace godwit
