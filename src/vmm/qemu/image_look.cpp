// The child is forked from a program with threads: it calls the kernel only, and allocates nothing.
#include "vmm/qemu/image_look.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <span>

#include "base/unique_fd.h"

namespace godwit::qemu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kSampleBytes = 4096;
constexpr std::size_t kMostPieces = 64;
constexpr std::size_t kLongestPath = 4096;
constexpr std::size_t kMostDescriptors = 4096;
// A single request that takes longer than this was not slow but lost. Later ones get less: what one server owes is not
// waited for again for each of its files.
constexpr milliseconds kFirstPatience(2000);
constexpr milliseconds kLaterPatience(300);
// For all files together: a source does not wait longer than that for an answer either.
constexpr milliseconds kMostOfAll(5000);
// A child that was killed mostly ends at once.
constexpr int kEndMs = 100;

struct Asked {
  std::array<char, kLongestPath> path;
  std::uint64_t parts;
  std::uint64_t key;
  std::uint32_t offset_count;
  bool drop_cache;
  std::array<std::uint64_t, kMostPieces> offsets;
  // What comes back.
  std::atomic<std::uint32_t> state;  // 0 until it is done
  std::uint32_t mode;
  std::uint64_t device, special, inode, file_system;
  std::uint32_t sample_count;
  std::array<ImageSample, kMostPieces> samples;
};

constexpr std::uint32_t kAnswered = 1;
constexpr std::uint32_t kNotOpened = 2;

/// In memory that both processes share; zeros in the beginning. The files lie behind it.
struct Table {
  std::atomic<std::uint64_t> steps;  // system calls that have come back
  pid_t pid;
  std::uint32_t descriptor_count;
  std::array<std::int32_t, kMostDescriptors> descriptors;  // of the process, that are files
};

/// Not for secrets: so that no two different pieces look alike by chance, and no prepared ones can.
std::uint64_t hash_of(std::span<const std::byte> piece, std::uint64_t key) {
  std::uint64_t hash = key ^ (piece.size() * 0x9e3779b97f4a7c15);
  for (std::size_t i = 0; i + 8 <= piece.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, piece.data() + i, sizeof word);
    hash = (std::rotl(hash ^ word, 29) * 0xbf58476d1ce4e5b9) + key;
  }
  hash = (hash ^ (hash >> 30)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

/// For O_DIRECT.
struct alignas(kSampleBytes) Piece {
  std::array<std::byte, kSampleBytes> bytes{};
};

/// The child's work.
class Look {
 public:
  explicit Look(Table& table) : table_(table) {}

  void at(Asked& file) {
    const bool opened = open(file) && is_held(file);
    if (opened) {
      struct statfs system {};
      if (::fstatfs(fd_, &system) == 0) file.file_system = static_cast<std::uint64_t>(system.f_type) & 0xffffffff;
      step();
      if (file.parts > 0) take_samples(file);
      if (file.offset_count > 0) read_offsets(file);
      if (file.drop_cache) drop_cache();
    }
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    file.state.store(opened ? kAnswered : kNotOpened, std::memory_order_release);
    step();
  }

 private:
  void step() { table_.steps.fetch_add(1, std::memory_order_release); }

  bool open(Asked& file) {
    constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    // Past the page cache where that is possible, so that no old data stays behind in it.
    fd_ = ::open(file.path.data(), kFlags | O_DIRECT);
    if (fd_ < 0) fd_ = ::open(file.path.data(), kFlags);
    step();
    struct stat found {};
    if (fd_ < 0 || ::fstat(fd_, &found) != 0) return false;
    file.mode = found.st_mode;
    file.device = found.st_dev;
    file.special = found.st_rdev;
    file.inode = found.st_ino;
    return true;
  }

  static std::size_t add_number(std::span<char> text, std::size_t at, std::int32_t number) {
    return static_cast<std::size_t>(std::to_chars(text.data() + at, text.data() + text.size(), number).ptr -
                                    text.data());
  }
  static std::size_t add_text(std::span<char> text, std::size_t at, std::string_view more) {
    for (const char letter : more) {
      if (at < text.size()) text[at++] = letter;
    }
    return at;
  }
  /// "/proc/4711/fd/8"
  void name_descriptor(std::span<char> text, std::int32_t number) const {
    std::size_t at = add_text(text, 0, "/proc/");
    at = add_text(text, add_number(text, at, table_.pid), "/fd/");
    text[add_number(text, at, number)] = '\0';
  }

  /// Whether the process holds this very file: its name may have been given to another one since. Those that are
  /// called like it are asked first, so that no other file's server is waited for.
  bool is_held(const Asked& file) {
    std::array<char, kLongestPath> own{};
    std::array<char, 64> name{};
    std::size_t at = add_text(name, 0, "/proc/self/fd/");
    name[add_number(name, at, fd_)] = '\0';
    const std::string_view called = link_of(name.data(), own);
    for (const bool alike : {true, false}) {
      for (std::uint32_t i = 0; i < table_.descriptor_count; ++i) {
        std::array<char, kLongestPath> theirs{};
        name_descriptor(name, table_.descriptors[i]);
        if ((last_part(link_of(name.data(), theirs)) == last_part(called)) != alike) continue;
        struct stat found {};
        const bool told = ::stat(name.data(), &found) == 0;
        step();
        if (told && found.st_dev == file.device && found.st_ino == file.inode) return true;
      }
    }
    return false;
  }

  static std::string_view link_of(const char* name, std::span<char> buffer) {
    const ssize_t length = ::readlink(name, buffer.data(), buffer.size());
    return length < 0 ? std::string_view() : std::string_view(buffer.data(), static_cast<std::size_t>(length));
  }
  static std::string_view last_part(std::string_view path) { return path.substr(path.rfind('/') + 1); }

  /// The piece at `offset`, zeros behind the end of the file; whether any of it could be read.
  bool read_piece(std::uint64_t offset) {
    piece_.bytes.fill(std::byte{0});
    const ssize_t length = ::pread(fd_, piece_.bytes.data(), kSampleBytes, static_cast<off_t>(offset));
    // Without O_DIRECT it lies in the page cache now: of a disk that others write too it must not be found there later.
    (void)::posix_fadvise(fd_, static_cast<off_t>(offset), kSampleBytes, POSIX_FADV_DONTNEED);
    step();
    return length > 0;
  }

  /// Only pages that are on the storage can be dropped.
  void drop_cache() {
    (void)::fdatasync(fd_);
    step();
    (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    step();
  }

  bool is_zero() const {
    return std::all_of(piece_.bytes.begin(), piece_.bytes.end(), [](std::byte b) { return b == std::byte{0}; });
  }

  void take_samples(Asked& file) {
    const off_t end = ::lseek(fd_, 0, SEEK_END);
    if (end < 0) return;
    const auto size = static_cast<std::uint64_t>(end);
    for (std::uint64_t part = 0; part < file.parts; ++part) {
      const std::uint64_t from = size / file.parts * part / kSampleBytes * kSampleBytes;
      const std::uint64_t to =
          part + 1 == file.parts ? size : size / file.parts * (part + 1) / kSampleBytes * kSampleBytes;
      const off_t data = ::lseek(fd_, static_cast<off_t>(from), SEEK_DATA);
      const std::uint64_t at = data < 0 ? from : static_cast<std::uint64_t>(data) / kSampleBytes * kSampleBytes;
      if ((data < 0 && errno == ENXIO) || at >= to) continue;
      if (read_piece(at) && !is_zero()) file.samples[file.sample_count++] = {at, hash_of(piece_.bytes, file.key)};
    }
  }

  void read_offsets(Asked& file) {
    for (std::uint32_t i = 0; i < file.offset_count; ++i) {
      // What lies behind the end of a shorter file is other than what the source has there.
      (void)read_piece(file.offsets[i]);
      file.samples[file.sample_count++] = {file.offsets[i], hash_of(piece_.bytes, file.key)};
    }
  }

  Table& table_;
  int fd_ = -1;
  Piece piece_;
};

/// Shared memory with the table and its files.
class Sheet {
 public:
  explicit Sheet(std::size_t files) : size_(offset() + files * sizeof(Asked)) {
    void* memory = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) memory_ = static_cast<std::byte*>(memory);
  }
  Sheet(const Sheet&) = delete;
  Sheet& operator=(const Sheet&) = delete;
  ~Sheet() {
    if (memory_ != nullptr) ::munmap(memory_, size_);
  }
  bool exists() const { return memory_ != nullptr; }
  Table& table() { return *reinterpret_cast<Table*>(memory_); }
  Asked& file(std::size_t i) { return *reinterpret_cast<Asked*>(memory_ + offset() + i * sizeof(Asked)); }

 private:
  static constexpr std::size_t offset() { return (sizeof(Table) + 63) / 64 * 64; }
  std::size_t size_;
  std::byte* memory_ = nullptr;
};

/// The process's descriptors that are files with a name. What a link says asks no server.
void list_descriptors(const RemoteProcess& process, Table& table) {
  table.pid = process.pid();
  const auto numbers = process.descriptors();
  if (!numbers) return;
  for (const int number : *numbers) {
    char first = 0;
    const std::string link = "/proc/" + std::to_string(process.pid()) + "/fd/" + std::to_string(number);
    if (::readlink(link.c_str(), &first, 1) != 1 || first != '/') continue;
    if (table.descriptor_count < kMostDescriptors) table.descriptors[table.descriptor_count++] = number;
  }
}

void fill(Asked& file, const ImageQuestion& question) {
  std::copy(question.path.begin(), question.path.end(), file.path.begin());
  file.parts = std::min<std::uint64_t>(question.parts, kMostPieces);
  file.key = question.key;
  file.drop_cache = question.drop_cache;
  for (const std::uint64_t offset : question.offsets) {
    if (file.offset_count < kMostPieces) file.offsets[file.offset_count++] = offset;
  }
}

ImageAnswer answer_of(const Asked& file) {
  ImageAnswer answer;
  const auto state = file.state.load(std::memory_order_acquire);
  if (state == 0) return answer;
  answer.state = state == kAnswered ? ImageAnswer::State::kLookedAt : ImageAnswer::State::kFailed;
  answer.mode = file.mode;
  answer.device = file.device;
  answer.special = file.special;
  answer.inode = file.inode;
  answer.file_system = file.file_system;
  answer.samples.assign(file.samples.begin(), file.samples.begin() + file.sample_count);
  return answer;
}

[[noreturn]] void run_child(pid_t parent, Sheet& sheet, std::size_t from, std::size_t count) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  // A child that stays behind must not hold on to a monitor, a journal's lock, or a pipe that somebody reads to its
  // end.
  ::syscall(SYS_close_range, 0U, ~0U, 0U);
  Look look(sheet.table());
  for (std::size_t i = from; i < count; ++i) look.at(sheet.file(i));
  ::_exit(0);
}

/// Waits while there is progress. Whether the child has done all its work.
bool await(pid_t child, int pidfd, const Table& table, milliseconds patience, steady_clock::time_point last) {
  constexpr milliseconds kLookEvery(20);
  std::uint64_t seen = table.steps.load(std::memory_order_acquire);
  auto since = steady_clock::now();
  for (;;) {
    pollfd ended{pidfd, POLLIN, 0};
    if (::poll(&ended, 1, static_cast<int>(kLookEvery.count())) > 0) {
      ::waitpid(child, nullptr, 0);
      return true;
    }
    const auto now = steady_clock::now();
    if (const auto steps = table.steps.load(std::memory_order_acquire); steps != seen) {
      seen = steps;
      since = now;
    }
    if (now - since < patience && now < last) continue;
    ::kill(child, SIGKILL);
    // One that the kernel does not let go is not waited for; it is nobody's but init's when this program ends.
    if (::poll(&ended, 1, kEndMs) > 0) ::waitpid(child, nullptr, 0);
    return false;
  }
}

/// From `from` on; whether a child could be started.
bool ask(Sheet& sheet, std::size_t from, std::size_t count, milliseconds patience, steady_clock::time_point last) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) run_child(parent, sheet, from, count);
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  if (!pidfd) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return false;
  }
  (void)await(child, pidfd.get(), sheet.table(), patience, last);
  return true;
}

}  // namespace

std::vector<ImageAnswer> look_at_images(const RemoteProcess& process, const std::vector<ImageQuestion>& questions) {
  std::vector<ImageAnswer> answers(questions.size());
  Sheet sheet(questions.size());
  if (questions.empty() || !sheet.exists()) return answers;
  list_descriptors(process, sheet.table());
  for (std::size_t i = 0; i < questions.size(); ++i) {
    if (questions[i].path.size() < kLongestPath) fill(sheet.file(i), questions[i]);
  }
  const auto last = steady_clock::now() + kMostOfAll;
  auto patience = kFirstPatience;
  std::size_t next = 0;
  while (next < questions.size() && steady_clock::now() < last && ask(sheet, next, questions.size(), patience, last)) {
    while (next < questions.size() && sheet.file(next).state.load(std::memory_order_acquire) != 0) ++next;
    ++next;  // the one that it did not come back from
    patience = kLaterPatience;
  }
  for (std::size_t i = 0; i < questions.size(); ++i) answers[i] = answer_of(sheet.file(i));
  return answers;
}

}  // namespace godwit::qemu
