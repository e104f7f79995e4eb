#include "tests/support/qemu_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <span>

#include "base/unique_fd.h"

namespace godwit::testing {
namespace {

constexpr std::uint64_t kPage = 4096;
/// Read at a time: large enough to be quick, small enough to leave the cache alone.
constexpr std::uint64_t kPiece = 1 * kMiB;

/// One block's bytes, with its holes.
class BlockReader {
 public:
  virtual ~BlockReader() = default;
  /// The first page at or after `offset` that may hold data; the block's size if there is none.
  virtual Result<std::uint64_t> next_data(std::uint64_t offset) = 0;
  /// Fills `out`, holes with zeros.
  virtual Status read(std::uint64_t offset, std::span<char> out) = 0;
};

class FileReader final : public BlockReader {
 public:
  FileReader(UniqueFd file, std::uint64_t begin, std::uint64_t size)
      : file_(std::move(file)), begin_(begin), size_(size) {}

  Result<std::uint64_t> next_data(std::uint64_t offset) override {
    const off_t at = ::lseek(file_.get(), static_cast<off_t>(begin_ + offset), SEEK_DATA);
    if (at < 0 && errno == ENXIO) return size_;
    if (at < 0) return fail_os("SEEK_DATA");
    return std::min(static_cast<std::uint64_t>(at) - begin_, size_);
  }

  // KERNEL: read(2) of a hole in tmpfs or hugetlbfs gives zeros and allocates nothing, unlike reading a mapping.
  Status read(std::uint64_t offset, std::span<char> out) override {
    while (!out.empty()) {
      const auto got = ::pread(file_.get(), out.data(), out.size(), static_cast<off_t>(begin_ + offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return fail_os("pread of guest RAM");
      offset += static_cast<std::uint64_t>(got);
      out = out.subspan(static_cast<std::size_t>(got));
    }
    return {};
  }

 private:
  UniqueFd file_;
  std::uint64_t begin_;
  std::uint64_t size_;
};

class ProcessReader final : public BlockReader {
 public:
  ProcessReader(pid_t pid, UniqueFd pagemap, std::uint64_t address, std::uint64_t size)
      : pid_(pid), pagemap_(std::move(pagemap)), address_(address), size_(size) {}

  Result<std::uint64_t> next_data(std::uint64_t offset) override {
    // Asked again for every piece that the other side has data in: the answer holds until it is passed.
    if (offset <= known_next_ && offset >= known_from_) return known_next_;
    known_from_ = offset;
    known_next_ = TRY(find_next(offset));
    return known_next_;
  }

  Status read(std::uint64_t offset, std::span<char> out) override {
    const auto pages = TRY(present(offset, out.size() / kPage));
    std::memset(out.data(), 0, out.size());
    for (std::size_t page = 0; page < pages.size(); ++page) {
      if (!pages[page]) continue;
      std::size_t end = page;
      while (end < pages.size() && pages[end]) ++end;
      const std::size_t length = (end - page) * kPage;
      iovec local{out.data() + page * kPage, length};
      iovec remote{reinterpret_cast<void*>(address_ + offset + page * kPage), length};
      if (::process_vm_readv(pid_, &local, 1, &remote, 1, 0) != static_cast<ssize_t>(length)) {
        return fail_os("process_vm_readv of guest RAM");
      }
      page = end;
    }
    return {};
  }

 private:
  Result<std::uint64_t> find_next(std::uint64_t offset) {
    while (offset < size_) {
      const auto pages = TRY(present(offset, std::min(kPiece, size_ - offset) / kPage));
      const auto found = std::find(pages.begin(), pages.end(), true);
      if (found != pages.end()) return offset + static_cast<std::uint64_t>(found - pages.begin()) * kPage;
      offset += pages.size() * kPage;
    }
    return size_;
  }

  Result<std::vector<bool>> present(std::uint64_t offset, std::uint64_t count) {
    std::vector<std::uint64_t> entries(count);
    const auto bytes = static_cast<ssize_t>(count * sizeof(std::uint64_t));
    const auto at = static_cast<off_t>((address_ + offset) / kPage * sizeof(std::uint64_t));
    if (::pread(pagemap_.get(), entries.data(), static_cast<std::size_t>(bytes), at) != bytes) {
      return fail_os("read /proc/PID/pagemap");
    }
    std::vector<bool> present(count);
    // KERNEL: bit 63 is "present", bit 62 "swapped" (Documentation/admin-guide/mm/pagemap).
    for (std::size_t i = 0; i < count; ++i) present[i] = (entries[i] >> 62) != 0;
    return present;
  }

  pid_t pid_;
  UniqueFd pagemap_;
  std::uint64_t address_;
  std::uint64_t size_;
  std::uint64_t known_from_ = 1;  ///< no offset is between 1 and 0: nothing is known yet
  std::uint64_t known_next_ = 0;
};

Result<std::unique_ptr<BlockReader>> open_block(const TestQemu& qemu, const QemuBlock& block) {
  const std::string proc = fmt::format("/proc/{}", qemu.pid());
  if (qemu.options().ram == Ram::kPrivate) {
    UniqueFd pagemap(::open((proc + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
    if (!pagemap) return fail_os("open pagemap");
    return std::make_unique<ProcessReader>(qemu.pid(), std::move(pagemap), block.address, block.size);
  }
  std::ifstream maps(proc + "/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t start = 0, end = 0, offset = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &start, &end, &offset) != 3) continue;
    if (block.address < start || block.address + block.size > end) continue;
    const std::string file = fmt::format("{}/map_files/{:x}-{:x}", proc, start, end);
    UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_os("open " + file);
    return std::make_unique<FileReader>(std::move(fd), offset + (block.address - start), block.size);
  }
  return fail(ErrorKind::kNotFound, "no mapping holds block " + block.name);
}

Status compare_block(const QemuBlock& block, BlockReader& a, BlockReader& b, RamComparison& result) {
  std::vector<char> left(kPiece), right(kPiece);
  std::uint64_t offset = 0;
  while (offset < block.size) {
    const std::uint64_t data = std::min(TRY(a.next_data(offset)), TRY(b.next_data(offset))) / kPage * kPage;
    if (data >= block.size) break;
    const std::uint64_t length = std::min(kPiece, block.size - data);
    TRY(a.read(data, std::span(left).first(length)));
    TRY(b.read(data, std::span(right).first(length)));
    for (std::uint64_t at = 0; at < length; at += kPage) {
      ++result.pages_with_data;
      if (std::memcmp(left.data() + at, right.data() + at, kPage) == 0) continue;
      ++result.pages_different;
      if (result.first.size() < 16) result.first.push_back({block.name, data + at});
    }
    offset = data + length;
  }
  result.pages += block.size / kPage;
  return {};
}

}  // namespace

std::string RamComparison::describe() const {
  std::string text = fmt::format("{} of {} pages differ ({} with data)", pages_different, pages, pages_with_data);
  for (const auto& difference : first) text += fmt::format("; {} at {:#x}", difference.block, difference.offset);
  return text;
}

Result<RamComparison> compare_ram(const TestQemu& a, const TestQemu& b) {
  if (a.blocks().size() != b.blocks().size()) return fail(ErrorKind::kInvalidArgument, "different RAM blocks");
  RamComparison result;
  for (std::size_t i = 0; i < a.blocks().size(); ++i) {
    if (a.blocks()[i].size != b.blocks()[i].size) return fail(ErrorKind::kInvalidArgument, "different sizes");
    const auto left = TRY(open_block(a, a.blocks()[i]));
    const auto right = TRY(open_block(b, b.blocks()[i]));
    TRY(compare_block(a.blocks()[i], *left, *right, result));
  }
  return result;
}

Result<std::uint64_t> present_bytes(const TestQemu& qemu) {
  std::uint64_t bytes = 0;
  for (const auto& block : qemu.blocks()) {
    const auto reader = TRY(open_block(qemu, block));
    // Page by page is slow for a file's long data; good enough for a test's few hundred MiB.
    for (std::uint64_t at = TRY(reader->next_data(0)); at < block.size; at = TRY(reader->next_data(at + kPage))) {
      bytes += kPage;
    }
  }
  return bytes;
}

}  // namespace godwit::testing
