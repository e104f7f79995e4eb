#include "memory/cached_pages.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/kernel_abi.h"

namespace godwit {

namespace {

// Below this many pages a further question costs more than it saves.
constexpr std::uint64_t kNotHalved = 16;

class CacheQuestions {
 public:
  CacheQuestions(int fd, std::uint64_t offset, std::span<PageWord> pages) : fd_(fd), offset_(offset), pages_(pages) {}

  /// Halves a run until its parts are there as wholes, missing as wholes, or small.
  Result<bool> clear(std::uint64_t first, std::uint64_t count) {
    CachestatRange range{offset_ + first * kPageSize, count * kPageSize};
    CachestatCounts counts;
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
    const bool known = TRY(clear(first, half));
    if (!known) return false;
    return clear(first + half, count - half);
  }

 private:
  int fd_;
  std::uint64_t offset_;
  std::span<PageWord> pages_;
};

}  // namespace

bool lives_in_memory(int fd) noexcept {
  struct statfs status {};
  return ::fstatfs(fd, &status) == 0 && status.f_type == TMPFS_MAGIC;
}

Result<bool> clear_cached_pages(int fd, std::uint64_t offset, std::span<PageWord> pages) {
  CacheQuestions questions(fd, offset, pages);
  for (PageRuns runs(pages); const auto run = runs.next();) {
    const bool known = TRY(questions.clear(run->first, run->count));
    if (!known) return false;
  }
  return true;
}

}  // namespace godwit
