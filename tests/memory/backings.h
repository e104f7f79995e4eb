// Guest RAM of every kind for the conformance suite: two blocks of odd sizes, and a guest's view past the code tested.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "memory/block_memory.h"

namespace godwit::testing {

inline constexpr std::uint64_t kHugePageSize = 2 * 1024 * 1024;
// The first block ends in a chunk of 3 pages, the second in one of 61.
inline constexpr std::uint64_t kFirstSize = 8 * kChunkSize + 3 * kPageSize;
inline constexpr std::uint64_t kSecondSize = 3 * kChunkSize - 3 * kPageSize;
// Where the second block begins in the file or address space: behind the first, at a huge page.
inline constexpr std::uint64_t kSecondStart = 2 * kHugePageSize;
inline constexpr std::uint64_t kWholeSize = 3 * kHugePageSize;

/// What a kind of backing can do, as the suite expects it.
struct Traits {
  bool finds_exactly = true;  ///< find_data() names no page too many
  bool maps = true;
  bool populates = true;
  bool frees = true;  ///< discard() gives memory back
};

class Backing {
 public:
  virtual ~Backing() = default;
  Traits traits;
  std::unique_ptr<GuestMemory> memory;
  /// As the guest sees it. `offset` counts from the start of the first block, in the file or address space.
  virtual void poke(std::uint64_t offset, Bytes bytes) = 0;
  virtual void peek(std::uint64_t offset, MutableBytes bytes) = 0;
  /// Bytes of memory or disk that the backing takes.
  virtual std::uint64_t allocated() = 0;
};

/// A backing, or the reason why it cannot be had here.
using MaybeBacking = std::variant<std::unique_ptr<Backing>, std::string>;

/// Whether what is only read of private memory takes no memory. Some kernels under a hypervisor have no page of zeros
/// for it (pvm_no_zero_page=1).
inline bool kernel_has_zero_page() {
  // Between two that nobody may touch, so that it is a mapping of its own.
  void* const three = ::mmap(nullptr, 3 * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (three == MAP_FAILED) std::abort();
  std::byte* const page = static_cast<std::byte*>(three) + kPageSize;
  if (::mprotect(page, kPageSize, PROT_READ | PROT_WRITE) != 0) std::abort();
  (void)*static_cast<volatile std::byte*>(page);
  std::ifstream smaps("/proc/self/smaps");
  const auto address = reinterpret_cast<std::uint64_t>(page);
  bool inside = false;
  std::uint64_t kib = 0;
  for (std::string line; std::getline(smaps, line);) {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) inside = start <= address && address < end;
    if (inside && std::sscanf(line.c_str(), "Anonymous: %lu kB", &kib) == 1) break;
  }
  ::munmap(three, 3 * kPageSize);
  return kib == 0;
}

inline RamLayout two_blocks(std::uint64_t page_size) {
  return *RamLayout::make({{.name = "first", .size = kFirstSize, .page_size = page_size, .first_chunk = {}},
                           {.name = "second", .size = kSecondSize, .page_size = page_size, .first_chunk = {}}});
}

inline std::uint64_t offset_of(const GuestMemory& memory, ChunkIndex chunk) {
  const auto place = memory.layout().locate(chunk);
  return place.offset + (place.block == 0 ? 0 : kSecondStart);
}

class FileBacking final : public Backing {
 public:
  /// Nothing if the file system refuses what RAM needs.
  static MaybeBacking make(UniqueFd fd, std::uint64_t page_size, Traits traits) {
    auto backing = std::make_unique<FileBacking>();
    if (::ftruncate(fd.get(), static_cast<off_t>(kWholeSize)) != 0) return std::string("cannot make the file longer");
    void* const address = ::mmap(nullptr, kWholeSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    if (address == MAP_FAILED) return std::string("cannot map the file: no huge pages?");
    backing->guest_ = static_cast<std::byte*>(address);
    std::vector<std::unique_ptr<BlockAccess>> blocks;
    for (const auto& [start, size] : {std::pair{std::uint64_t{0}, kFirstSize}, {kSecondStart, kSecondSize}}) {
      auto block = open_file_block(UniqueFd(::dup(fd.get())), start, size, page_size);
      if (!block) return block.error().message;
      blocks.push_back(std::move(*block));
    }
    backing->fd_ = std::move(fd);
    backing->traits = traits;
    backing->memory = join_blocks(two_blocks(page_size), std::move(blocks));
    return backing;
  }
  ~FileBacking() override {
    if (guest_ != nullptr) ::munmap(guest_, kWholeSize);
  }
  void poke(std::uint64_t offset, Bytes bytes) override { std::memcpy(guest_ + offset, bytes.data(), bytes.size()); }
  void peek(std::uint64_t offset, MutableBytes bytes) override {
    std::memcpy(bytes.data(), guest_ + offset, bytes.size());
  }
  std::uint64_t allocated() override {
    struct stat status {};
    ::fstat(fd_.get(), &status);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }

 private:
  UniqueFd fd_;
  std::byte* guest_ = nullptr;
};

/// A child that does nothing but have memory. Ends with this object, and with this process.
class Sleeper {
 public:
  /// Memory mapped before by this process is the child's too, at the same address.
  Sleeper() : pid_(::fork()) {
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) ::pause();
  }
  ~Sleeper() { end(); }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;
  pid_t pid() const { return pid_; }
  UniqueFd pagemap() const {
    return UniqueFd(::open(("/proc/" + std::to_string(pid_) + "/pagemap").c_str(), O_RDONLY | O_CLOEXEC));
  }
  void end() {
    if (!running_) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    running_ = false;
  }

 private:
  pid_t pid_;
  bool running_ = true;
};

/// Private memory of this process until a child has taken it over. Whole huge pages, but never backed by them.
inline std::byte* map_private(std::uint64_t size) {
  void* const address =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) std::abort();
  ::madvise(address, size, MADV_NOHUGEPAGE);
  return static_cast<std::byte*>(address);
}

class ProcessBacking final : public Backing {
 public:
  static MaybeBacking make() {
    auto backing = std::make_unique<ProcessBacking>();
    backing->address_ = map_private(kWholeSize);
    backing->child_ = std::make_unique<Sleeper>();
    ::munmap(backing->address_, kWholeSize);
    backing->traits = {.finds_exactly = true, .maps = false, .populates = false, .frees = false};
    std::vector<std::unique_ptr<BlockAccess>> blocks;
    const auto base = reinterpret_cast<std::uint64_t>(backing->address_);
    for (const auto& [start, size] : {std::pair{std::uint64_t{0}, kFirstSize}, {kSecondStart, kSecondSize}}) {
      auto block = open_process_block(backing->child_->pid(), base + start, size, backing->child_->pagemap());
      if (!block) return block.error().message;
      blocks.push_back(std::move(*block));
    }
    backing->memory = join_blocks(two_blocks(kPageSize), std::move(blocks));
    return backing;
  }
  void poke(std::uint64_t offset, Bytes bytes) override {
    const iovec here{const_cast<std::byte*>(bytes.data()), bytes.size()};
    const iovec there{address_ + offset, bytes.size()};
    if (::process_vm_writev(child_->pid(), &here, 1, &there, 1, 0) != static_cast<ssize_t>(bytes.size())) std::abort();
  }
  void peek(std::uint64_t offset, MutableBytes bytes) override {
    const iovec here{bytes.data(), bytes.size()};
    const iovec there{address_ + offset, bytes.size()};
    if (::process_vm_readv(child_->pid(), &here, 1, &there, 1, 0) != static_cast<ssize_t>(bytes.size())) std::abort();
  }
  std::uint64_t allocated() override {
    std::ifstream smaps("/proc/" + std::to_string(child_->pid()) + "/smaps");
    const auto base = reinterpret_cast<std::uint64_t>(address_);
    bool inside = false;
    std::uint64_t kib = 0;
    for (std::string line; std::getline(smaps, line);) {
      std::uint64_t start = 0;
      std::uint64_t end = 0;
      std::uint64_t size = 0;
      if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) inside = start < base + kWholeSize && end > base;
      if (inside && std::sscanf(line.c_str(), "Anonymous: %lu kB", &size) == 1) kib += size;
    }
    return kib * 1024;
  }

 private:
  std::byte* address_ = nullptr;
  std::unique_ptr<Sleeper> child_;
};

/// A file in a folder, already without a name.
inline MaybeBacking file_in(const std::string& folder, std::uint64_t page_size, Traits traits) {
  std::string path = folder + "/godwit-test-XXXXXX";
  UniqueFd fd(::mkstemp(path.data()));
  if (!fd) return "no file can be made in " + folder;
  ::unlink(path.c_str());
  return FileBacking::make(std::move(fd), page_size, traits);
}

/// A file in a file system mounted for it alone, and already unmounted: it exists as long as the file.
inline Result<UniqueFd> file_in_mount(const char* type, const char* options) {
  std::string folder = "/tmp/godwit-test-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return fail_os("make a folder in /tmp");
  UniqueFd fd;
  if (::mount(type, folder.c_str(), type, MS_NOSUID | MS_NODEV, options) == 0) {
    fd.reset(::open((folder + "/ram").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    ::umount2(folder.c_str(), MNT_DETACH);
  }
  ::rmdir(folder.c_str());
  if (!fd) return fail(ErrorKind::kUnsupported, std::string("cannot mount a ") + type + " here");
  return fd;
}

/// Adds huge pages to the host's pool, and takes them away again.
class HugePages {
 public:
  explicit HugePages(unsigned count) {
    std::ifstream(kPath) >> before_;
    std::ofstream(kPath) << before_ + count;
  }
  ~HugePages() { std::ofstream(kPath) << before_; }
  HugePages(const HugePages&) = delete;
  HugePages& operator=(const HugePages&) = delete;

 private:
  static constexpr const char* kPath = "/proc/sys/vm/nr_hugepages";
  unsigned before_ = 0;
};

class HugeBacking final : public Backing {
 public:
  static MaybeBacking make() {
    auto backing = std::make_unique<HugeBacking>();
    auto fd = file_in_mount("hugetlbfs", "pagesize=2M");
    if (!fd) return fd.error().message;
    // hugetlbfs cannot say where its holes are, and a chunk is smaller than what it can give back.
    auto file = FileBacking::make(std::move(*fd), kHugePageSize,
                                  {.finds_exactly = false, .maps = true, .populates = true, .frees = false});
    if (auto* reason = std::get_if<std::string>(&file)) return *reason;
    backing->file_ = std::move(std::get<0>(file));
    backing->traits = backing->file_->traits;
    backing->memory = std::move(backing->file_->memory);
    return backing;
  }
  void poke(std::uint64_t offset, Bytes bytes) override { file_->poke(offset, bytes); }
  void peek(std::uint64_t offset, MutableBytes bytes) override { file_->peek(offset, bytes); }
  std::uint64_t allocated() override { return file_->allocated(); }

 private:
  HugePages pages_{kWholeSize / kHugePageSize};
  std::unique_ptr<Backing> file_;
};

inline MaybeBacking make_backing(const std::string& kind) {
  if (kind == "tmpfs") return file_in("/dev/shm", kPageSize, {});
  if (kind == "disk") return file_in("/var/tmp", kPageSize, {});
  if (kind == "memfd") return FileBacking::make(UniqueFd(::memfd_create("ram", MFD_CLOEXEC)), kPageSize, {});
  if (kind == "hugetlbfs") return HugeBacking::make();
  return ProcessBacking::make();
}

}  // namespace godwit::testing
