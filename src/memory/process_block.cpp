// Private RAM of another process, reached by process_vm_readv and process_vm_writev; found by its page map.
//
//   QEMU's anonymous memory --one iovec per run--> lane's buffer
//
// Reading a page that was never touched maps the kernel's zero page there: no memory. It cannot be mapped here.
// Populating it from outside is not offered by any kernel: a write allocates what it needs, and fails cleanly where
// there is no memory.
#include <fmt/core.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <fstream>
#include <string>

#include "memory/block_memory.h"
#include "memory/pagemap.h"

namespace godwit {

namespace {

// Every other page is the worst case of a page word.
constexpr std::size_t kMaxRuns = kPagesPerChunk / 2;
static_assert(kMaxRuns <= IOV_MAX);

// Chunks whose data is looked for at once: a call to the kernel costs about what a scan of so many costs.
constexpr std::size_t kAskedAtOnce = 16;

alignas(64) constexpr std::array<std::byte, kPageSize> kZeros{};

class ProcessBlock final : public BlockAccess {
 public:
  ProcessBlock(pid_t pid, std::uint64_t address, std::uint64_t size, UniqueFd pagemap, bool anonymous)
      : pid_(pid), address_(address), size_(size), pagemap_(std::move(pagemap)), anonymous_(anonymous) {}

  std::uint64_t size() const noexcept override { return size_; }

  Status read(std::uint64_t offset, PageWord pages, MutableBytes out) const override {
    return transfer("read", ::process_vm_readv, offset, pages, out.data(), out.size());
  }

  Status write(std::uint64_t offset, PageWord pages, Bytes in) override {
    // The system call takes the same iovec for both directions; this one only reads from it.
    return transfer("write", ::process_vm_writev, offset, pages, const_cast<std::byte*>(in.data()), in.size());
  }

  Status fill(std::uint64_t offset, PageWord pages, Bytes in) override { return write(offset, pages, in); }

  std::optional<MutableBytes> map(std::uint64_t, std::size_t) noexcept override { return std::nullopt; }

  Status discard(std::uint64_t offset, PageWord pages) override {
    // No kernel lets one process give back the memory of another: what holds something is zeroed, holes stay holes.
    PageWord held = 0;
    TRY(find_data(offset, {&held, 1}));
    Status status;
    for_each_page(held & pages, [&](unsigned page) {
      if (status) status = write(offset, PageWord{1} << page, kZeros);
    });
    return status;
  }

  Status populate(std::uint64_t, PageWord) override { return {}; }

  Status find_data(std::uint64_t offset, std::span<PageWord> out) const override {
    const std::uint64_t length = std::min<std::uint64_t>(size_ - offset, out.size() * kChunkSize);
    if (!anonymous_) {
      add_pages(out, 0, length / kPageSize);
      return {};
    }
    return pagemap_.find_data(address_ + offset, length, out);
  }

  Status keep_holes(std::uint64_t offset, std::span<PageWord> pages) const override {
    for (std::size_t first = 0; first < pages.size();) {
      if (pages[first] == 0) {
        ++first;
        continue;
      }
      std::size_t count = std::min(kAskedAtOnce, pages.size() - first);
      while (pages[first + count - 1] == 0) --count;
      std::array<PageWord, kAskedAtOnce> data{};
      TRY(find_data(offset + first * kChunkSize, std::span(data).first(count)));
      for (std::size_t i = 0; i < count; ++i) pages[first + i] &= ~data[i];
      first += count;
    }
    return {};
  }

  Status keep_where_holes_may_be(std::uint64_t, std::span<PageWord> pages) const override {
    if (!anonymous_) std::ranges::fill(pages, PageWord{0});
    return {};
  }

 private:
  using Call = ssize_t (*)(pid_t, const iovec*, unsigned long, const iovec*, unsigned long, unsigned long);
  Status transfer(const char* what, Call call, std::uint64_t offset, PageWord pages, std::byte* local,
                  std::size_t length) const;

  pid_t pid_;
  std::uint64_t address_;
  std::uint64_t size_;
  Pagemap pagemap_;
  bool anonymous_;  ///< else what is not in the page table may still be in a file
};

Status ProcessBlock::transfer(const char* what, Call call, std::uint64_t offset, PageWord pages, std::byte* local,
                              std::size_t length) const {
  std::array<iovec, kMaxRuns> runs;
  std::size_t count = 0;
  for_each_run(pages, [&](unsigned first, unsigned run) {
    // An address in the other process, never used as a pointer here.
    runs[count++] = {reinterpret_cast<void*>(address_ + offset + first * kPageSize), run * kPageSize};
  });
  iovec here{local, length};
  for (std::size_t done_runs = 0; here.iov_len != 0;) {
    const ssize_t moved = call(pid_, &here, 1, &runs[done_runs], count - done_runs, 0);
    if (moved < 0 && errno == EINTR) continue;
    if (moved < 0 && errno == ESRCH) {
      return fail(ErrorKind::kPeerLost, fmt::format("{} guest RAM: process {} is gone", what, pid_), ESRCH);
    }
    if (moved < 0 && errno == EFAULT) {
      return fail(ErrorKind::kNotFound, fmt::format("{} guest RAM: process {} has no such memory any more", what, pid_),
                  EFAULT);
    }
    if (moved < 0) return fail_os(fmt::format("{} guest RAM of process {}", what, pid_));
    if (moved == 0) return fail(ErrorKind::kIo, fmt::format("{} guest RAM of process {}: nothing moved", what, pid_));
    // Less than asked for: go on behind it, so that the next call gives the reason or the rest.
    auto left = static_cast<std::size_t>(moved);
    here = {static_cast<std::byte*>(here.iov_base) + left, here.iov_len - left};
    for (; left != 0 && left >= runs[done_runs].iov_len; ++done_runs) left -= runs[done_runs].iov_len;
    if (left != 0) {
      iovec& run = runs[done_runs];
      run = {static_cast<std::byte*>(run.iov_base) + left, run.iov_len - left};
    }
  }
  return {};
}

struct Mapped {
  bool whole = false;      ///< all of it is mapped
  bool anonymous = false;  ///< and none of it has a file behind it
};

/// Reads lines such as "7f0a80000000-7f0ac0000000 rw-p 00000000 00:00 0".
Result<Mapped> look_up(pid_t pid, std::uint64_t address, std::uint64_t size) {
  std::ifstream maps(fmt::format("/proc/{}/maps", pid));
  if (!maps) {
    if (errno == ENOENT) return fail(ErrorKind::kPeerLost, fmt::format("process {} is gone", pid), ENOENT);
    return fail_os(fmt::format("open /proc/{}/maps", pid));
  }
  Mapped mapped{.whole = false, .anonymous = true};
  std::uint64_t reached = address;
  for (std::string line; std::getline(maps, line) && reached < address + size;) {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    unsigned long inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %lu", &start, &end, &inode) != 3) continue;
    if (end <= reached) continue;
    if (start > reached) break;
    if (inode != 0) mapped.anonymous = false;
    reached = end;
  }
  mapped.whole = reached >= address + size;
  return mapped;
}

}  // namespace

Result<std::unique_ptr<BlockAccess>> open_process_block(pid_t pid, std::uint64_t address, std::uint64_t size,
                                                        UniqueFd pagemap) {
  if (size == 0 || size % kPageSize != 0 || address % kPageSize != 0 || size > ~std::uint64_t{0} - address) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("{} bytes at {:#x} are not whole pages", size, address));
  }
  const Mapped mapped = TRY(look_up(pid, address, size));
  if (!mapped.whole) {
    return fail(ErrorKind::kNotFound, fmt::format("process {} has no {} bytes mapped at {:#x}", pid, size, address));
  }
  return std::make_unique<ProcessBlock>(pid, address, size, std::move(pagemap), mapped.anonymous);
}

}  // namespace godwit
