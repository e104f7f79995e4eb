// RAM in a file: tmpfs, memfd, hugetlbfs or a file system on disk.
//
//   read       file --pread--> lane's buffer      (reading a hole through a mapping would allocate it)
//   view       a mapping of its own, of pages that the page cache has now
//   write      lane's buffer --memcpy--> shared mapping --> file      (hugetlbfs has no write)
//   fill       lane's buffer --HoleFiller--> new pages of the file; huge pages and files on disks: populate, then write
//              where another process pays: into that one's mapping (paying_process.h)
//   map        decoders write into the shared mapping
//   discard    punch holes where whole backing pages go, else zero what is not zero; memory that was all there when it
//              was opened has been allocated beforehand, and stays so: only zeros
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <vector>

#include "base/units.h"
#include "memory/block_memory.h"
#include "memory/cached_pages.h"
#include "memory/hole_filler.h"

namespace godwit {

namespace {

/// Calls step(offset in the block, length in bytes) for each run of pages until one fails.
template <typename Step>
Status over_runs(std::uint64_t offset, PageWord pages, Step&& step) {
  Status status;
  for_each_run(pages, [&](unsigned first, unsigned count) {
    if (status) status = step(offset + first * kPageSize, count * kPageSize);
  });
  return status;
}

std::uint64_t allocated_bytes(const struct stat& file) noexcept {
  constexpr std::uint64_t kStatBlock = 512;
  return static_cast<std::uint64_t>(file.st_blocks) * kStatBlock;
}

bool is_all_allocated(const struct stat& file) noexcept {
  return allocated_bytes(file) >= static_cast<std::uint64_t>(file.st_size);
}

/// KERNEL: of a file in memory that is counted by the page, swapped out or not. What lies beyond the file's end is
/// counted too (the last huge page's rest, FALLOC_FL_KEEP_SIZE) and could hide as much of a hole.
bool is_without_holes(const struct stat& file) noexcept {
  constexpr std::uint64_t kHugePage = 2 * kMiB;
  const auto size = static_cast<std::uint64_t>(file.st_size);
  return size % kHugePage == 0 && allocated_bytes(file) == size;
}

class FileBlock final : public BlockAccess {
 public:
  FileBlock(UniqueFd fd, std::uint64_t file_offset, std::uint64_t size, std::uint64_t page_size, bool preallocated,
            std::optional<PayingProcess> payer)
      : fd_(std::move(fd)),
        file_offset_(file_offset),
        size_(size),
        page_size_(page_size),
        preallocated_(preallocated),
        in_memory_(lives_in_memory(fd_.get())),
        payer_(payer) {}
  ~FileBlock() override {
    if (base_ != nullptr) ::munmap(base_, mapped_size());
    if (view_ != nullptr) ::munmap(view_, mapped_size());
  }
  FileBlock(const FileBlock&) = delete;
  FileBlock& operator=(const FileBlock&) = delete;

  std::uint64_t size() const noexcept override { return size_; }

  Status read(std::uint64_t offset, PageWord pages, MutableBytes out) const override {
    return over_runs(offset, pages, [&](std::uint64_t start, std::size_t length) {
      const Status status = read_run(start, out.first(length));
      out = out.subspan(length);
      return status;
    });
  }

  std::optional<Bytes> view(std::uint64_t offset, PageWord pages) const override;

  Status write(std::uint64_t offset, PageWord pages, Bytes in) override {
    std::byte* const base = TRY(base_address());
    return over_runs(offset, pages, [&](std::uint64_t start, std::size_t length) -> Status {
      std::memcpy(base + start, in.data(), length);
      in = in.subspan(length);
      return {};
    });
  }

  Status fill(std::uint64_t offset, PageWord pages, Bytes in) override {
    std::byte* const base = TRY(base_address());
    std::call_once(filler_made_, [this] {
      if (page_size_ == kPageSize && !payer_) filler_ = HoleFiller::open(fd_.get(), file_offset_, size_);
    });
    return over_runs(offset, pages, [&](std::uint64_t start, std::size_t length) {
      const Status status = fill_run(base, start, in.first(length));
      in = in.subspan(length);
      return status;
    });
  }

  std::optional<MutableBytes> map(std::uint64_t offset, std::size_t length) noexcept override {
    const auto base = base_address();
    if (!base) return std::nullopt;
    return MutableBytes(*base + offset, length);
  }

  Status discard(std::uint64_t offset, PageWord pages) override {
    return over_runs(offset, pages,
                     [&](std::uint64_t start, std::size_t length) { return discard_run(start, length); });
  }

  Status populate(std::uint64_t offset, PageWord pages) override {
    std::byte* const base = TRY(base_address());
    return over_runs(offset, pages,
                     [&](std::uint64_t start, std::size_t length) { return populate_run(base, start, length); });
  }

  Status find_data(std::uint64_t offset, std::span<PageWord> out) const override;
  Status keep_holes(std::uint64_t offset, std::span<PageWord> pages) const override;
  Status keep_where_holes_may_be(std::uint64_t offset, std::span<PageWord> pages) const override;

 private:
  /// Huge pages are mapped and unmapped as wholes.
  std::size_t mapped_size() const noexcept { return (size_ + page_size_ - 1) / page_size_ * page_size_; }
  off_t in_file(std::uint64_t offset) const noexcept { return static_cast<off_t>(file_offset_ + offset); }
  Status read_run(std::uint64_t start, MutableBytes out) const;
  Status discard_run(std::uint64_t start, std::size_t length);
  Status zero_run(std::uint64_t start, std::size_t length);
  Status zero_allocated_run(std::uint64_t start, std::size_t length);
  std::uint64_t next_data(std::uint64_t at) const noexcept;
  std::uint64_t next_hole(std::uint64_t at) const noexcept;
  Status fill_run(std::byte* base, std::uint64_t start, Bytes in);
  Status populate_run(std::byte* base, std::uint64_t start, std::size_t length);
  Result<std::byte*> base_address();

  UniqueFd fd_;
  std::uint64_t file_offset_;
  std::uint64_t size_;
  std::uint64_t page_size_;
  bool preallocated_;  ///< somebody has paid for all of it before the guest came: prealloc=on, locked memory
  bool in_memory_;
  std::optional<PayingProcess> payer_;

  std::once_flag mapped_;
  std::byte* base_ = nullptr;  ///< set once, under mapped_
  int map_error_ = 0;

  mutable std::once_flag viewed_;
  mutable std::byte* view_ = nullptr;  ///< read-only; set once, under viewed_

  std::once_flag filler_made_;
  std::unique_ptr<HoleFiller> filler_;  ///< set once, under filler_made_

  /// How far a sweep of find_data() has come: what follows in the same sweep need not look for the end of the data
  /// again.
  struct Sweep {
    std::uint64_t next = 0;      ///< where the last call ended
    std::uint64_t data_end = 0;  ///< the data known to lie there ends here
  };
  mutable std::mutex sweep_mutex_;
  mutable Sweep sweep_;
};

Result<std::byte*> FileBlock::base_address() {
  std::call_once(mapped_, [this] {
    // Reserves its huge pages: better no mapping than a SIGBUS for want of one.
    void* const address = ::mmap(nullptr, mapped_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), in_file(0));
    if (address == MAP_FAILED) {
      map_error_ = errno;
    } else {
      base_ = static_cast<std::byte*>(address);
    }
  });
  if (base_ == nullptr) return fail(os_error("map the RAM's file for writing", map_error_));
  return base_;
}

/// hugetlbfs does not say which pages are there, and one that is not would be SIGBUS where the pool is empty.
std::optional<Bytes> FileBlock::view(std::uint64_t offset, PageWord pages) const {
  if (page_size_ != kPageSize || !in_memory_) return std::nullopt;
  PageWord missing = pages;
  const auto told = clear_cached_pages(fd_.get(), file_offset_ + offset, {&missing, 1});
  if (!told || !*told || missing != 0) return std::nullopt;
  std::call_once(viewed_, [this] {
    void* const address = ::mmap(nullptr, mapped_size(), PROT_READ, MAP_SHARED, fd_.get(), in_file(0));
    if (address != MAP_FAILED) view_ = static_cast<std::byte*>(address);
  });
  if (view_ == nullptr) return std::nullopt;
  return Bytes(view_ + offset + lowest_page(pages) * kPageSize, page_count(pages) * kPageSize);
}

Status FileBlock::read_run(std::uint64_t start, MutableBytes out) const {
  while (!out.empty()) {
    const ssize_t got = ::pread(fd_.get(), out.data(), out.size(), in_file(start));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_os("read the RAM's file");
    if (got == 0) return fail(ErrorKind::kIo, "the RAM's file has become shorter than the RAM");
    start += static_cast<std::uint64_t>(got);
    out = out.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Status FileBlock::discard_run(std::uint64_t start, std::size_t length) {
  if (preallocated_) return zero_allocated_run(start, length);
  const std::uint64_t end = start + length;
  const std::uint64_t whole_start = (start + page_size_ - 1) / page_size_ * page_size_;
  const std::uint64_t whole_end = end / page_size_ * page_size_;
  // A chunk is smaller than a huge page: there this always zeros, and the memory stays.
  if (whole_start >= whole_end) return zero_run(start, length);
  const auto whole = static_cast<off_t>(whole_end - whole_start);
  if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, in_file(whole_start), whole) != 0) {
    if (errno != EOPNOTSUPP && errno != ENOSYS) return fail_os("punch a hole into the RAM's file");
    return zero_run(start, length);
  }
  TRY(zero_run(start, whole_start - start));
  return zero_run(whole_end, end - whole_end);
}

/// Through the mapping, three times as fast as through the file; nothing is allocated by it that was not before.
Status FileBlock::zero_allocated_run(std::uint64_t start, std::size_t length) {
  std::byte* const base = TRY(base_address());
  for (std::uint64_t at = start; at < start + length; at += kPageSize) {
    std::byte* const page = base + at;
    if (page[0] == std::byte{0} && std::memcmp(page, page + 1, kPageSize - 1) == 0) continue;
    std::memset(page, 0, kPageSize);
  }
  return {};
}

Status FileBlock::zero_run(std::uint64_t start, std::size_t length) {
  std::array<std::byte, kPageSize> page;
  for (std::uint64_t at = start; at < start + length; at += kPageSize) {
    // Looked at through the file first: to write a hole, be it zeros, would allocate it.
    TRY(read_run(at, page));
    if (page[0] == std::byte{0} && std::memcmp(page.data(), page.data() + 1, page.size() - 1) == 0) continue;
    std::memset(TRY(base_address()) + at, 0, kPageSize);
  }
  return {};
}

Status FileBlock::fill_run(std::byte* base, std::uint64_t start, Bytes in) {
  if (filler_) {
    const std::size_t filled = TRY(filler_->fill(start, in));
    start += filled;
    in = in.subspan(filled);
  }
  if (payer_) {
    const std::size_t filled = payer_->fill(start, in);
    start += filled;
    in = in.subspan(filled);
  }
  if (in.empty()) return {};
  // Not a hole: the page is there already, be it in the file only, and its neighbours probably too.
  TRY(populate_run(base, start, in.size()));
  std::memcpy(base + start, in.data(), in.size());
  return {};
}

Status FileBlock::populate_run(std::byte* base, std::uint64_t start, std::size_t length) {
  if (payer_) payer_->touch(start, length);
  if (::madvise(base + start, length, MADV_POPULATE_WRITE) == 0) return {};
  const int number = errno;
  // EFAULT stands for "would have been SIGBUS", whatever the reason, and EINVAL for a kernel before 5.14. Asking the
  // file system for the same memory gives the reason, or the memory.
  if (number == EFAULT || number == EINVAL) {
    if (::fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, in_file(start), static_cast<off_t>(length)) == 0) {
      if (number == EINVAL || ::madvise(base + start, length, MADV_POPULATE_WRITE) == 0) return {};
      return fail(os_error("populate guest RAM", number));
    }
    return fail_os("allocate guest RAM");
  }
  return fail(os_error("populate guest RAM", number));
}

Status FileBlock::find_data(std::uint64_t offset, std::span<PageWord> out) const {
  const std::uint64_t end = std::min(size_, offset + out.size() * kChunkSize);
  const std::lock_guard lock(sweep_mutex_);
  // A stale end could only name too many pages, and only until the sweep is over.
  if (sweep_.next != offset) sweep_.data_end = 0;
  std::uint64_t at = offset;
  while (at < end) {
    std::uint64_t data = at;
    if (at >= sweep_.data_end) {
      const off_t found = ::lseek(fd_.get(), in_file(at), SEEK_DATA);
      if (found < 0 && errno == ENXIO) break;  // a hole up to the file's end
      data = found < 0 ? at : static_cast<std::uint64_t>(found) - file_offset_;
      if (data >= end) break;
      const off_t hole = found < 0 ? found : ::lseek(fd_.get(), in_file(data), SEEK_HOLE);
      // A file system that cannot say where its holes are: everything is data.
      sweep_.data_end = hole < 0 ? size_ : static_cast<std::uint64_t>(hole) - file_offset_;
    }
    const std::uint64_t data_end = std::min(sweep_.data_end, end);
    const std::uint64_t first_page = (data - offset) / kPageSize;
    const std::uint64_t end_page = (data_end - offset + kPageSize - 1) / kPageSize;
    add_pages(out, first_page, end_page - first_page);
    at = data_end;
  }
  sweep_.next = end;
  return {};
}

/// On disks tables are counted, too. hugetlbfs does not say where its holes are.
Status FileBlock::keep_where_holes_may_be(std::uint64_t, std::span<PageWord> pages) const {
  bool none = page_size_ != kPageSize;
  struct stat status {};
  if (!none && in_memory_) none = ::fstat(fd_.get(), &status) == 0 && is_without_holes(status);
  if (none) std::ranges::fill(pages, PageWord{0});
  return {};
}

/// In memory the page cache clears nearly all suspects for little; the file says of the rest, swapped pages too.
Status FileBlock::keep_holes(std::uint64_t offset, std::span<PageWord> pages) const {
  const bool cache_told = in_memory_ && TRY(clear_cached_pages(fd_.get(), file_offset_ + offset, pages));
  std::uint64_t data_end = 0;  // what lies before it, from the last look on, is data
  for (PageRuns runs(pages); const auto run = runs.next();) {
    const std::uint64_t end = offset + (run->first + run->count) * kPageSize;
    for (std::uint64_t at = offset + run->first * kPageSize; at < end;) {
      if (at >= data_end) {
        const std::uint64_t data = next_data(at);
        at = std::max(at, data / kPageSize * kPageSize);
        if (at >= end) break;
        // To find where the data ends the kernel looks at all of it, which in memory may be all that follows. On a disk
        // with blocks smaller than a page, a page may begin with a hole: it holds data all the same.
        data_end = cache_told ? 0 : next_hole(std::max(at, data));
        data_end = std::max(data_end, at + kPageSize);
      }
      const std::uint64_t till = std::min((data_end + kPageSize - 1) / kPageSize * kPageSize, end);
      drop_pages(pages, (at - offset) / kPageSize, (till - at) / kPageSize);
      at = till;
    }
  }
  return {};
}

/// The first byte of data from `at` on. A file system that cannot say where its holes are: everything is data.
std::uint64_t FileBlock::next_data(std::uint64_t at) const noexcept {
  const off_t found = ::lseek(fd_.get(), in_file(at), SEEK_DATA);
  if (found >= 0) return static_cast<std::uint64_t>(found) - file_offset_;
  return errno == ENXIO ? size_ : at;  // a hole up to the file's end
}

std::uint64_t FileBlock::next_hole(std::uint64_t at) const noexcept {
  const off_t found = ::lseek(fd_.get(), in_file(at), SEEK_HOLE);
  return found < 0 ? size_ : static_cast<std::uint64_t>(found) - file_offset_;
}

}  // namespace

Result<std::unique_ptr<BlockAccess>> open_file_block(UniqueFd fd, std::uint64_t file_offset, std::uint64_t size,
                                                     std::uint64_t page_size, std::optional<PayingProcess> payer) {
  if (size == 0 || size % kPageSize != 0 || page_size < kPageSize || page_size % kPageSize != 0 ||
      file_offset % page_size != 0) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("{} bytes at {} in a file cannot be RAM of pages of {}", size, file_offset, page_size));
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail_os("look at the RAM's file");
  const auto length = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
  if (size > length || file_offset > length - size) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("the RAM's file has {} bytes, too few for {} at {}", length, size, file_offset));
  }
  const bool preallocated = is_all_allocated(status);
  return std::make_unique<FileBlock>(std::move(fd), file_offset, size, page_size, preallocated, payer);
}

}  // namespace godwit
