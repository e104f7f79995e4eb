#include "postcopy/take_away.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

namespace godwit {

namespace {

// As many as process_madvise takes at once (UIO_MAXIOV).
constexpr std::size_t kStretchesAtOnce = 1024;
constexpr std::size_t kScratchBytes = kStretchesAtOnce * sizeof(iovec);
// One stop of the process costs more than a few stretches are worth.
constexpr std::size_t kFewStretches = 4;

Status one_by_one(const RemoteProcess& process, std::span<const TakenStretch> stretches) {
  for (const TakenStretch& stretch : stretches) {
    const auto returned =
        TRY(remote_syscall_returns(process, SYS_madvise, {stretch.address, stretch.length, MADV_DONTNEED}));
    if (returned == -EINVAL) return fail(ErrorKind::kUnsupported, "the guest's memory is locked (mlock)", EINVAL);
    if (returned < 0) return fail(os_error("take memory away from the guest", static_cast<int>(-returned)));
  }
  return {};
}

/// Memory in the process that nobody else knows of, and a descriptor of itself, for the time of a few calls.
class Scratch {
 public:
  static Result<Scratch> make(const RemoteProcess& process) {
    const auto address = TRY(
        remote_syscall(process, SYS_mmap,
                       {0, kScratchBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~std::uint64_t{0}, 0}));
    Scratch scratch(process, static_cast<std::uint64_t>(address));
    scratch.self_ = TRY(remote_syscall(process, SYS_pidfd_open, {static_cast<std::uint64_t>(process.pid()), 0}));
    return scratch;
  }
  Scratch(Scratch&& other) noexcept
      : process_(other.process_), address_(std::exchange(other.address_, 0)), self_(std::exchange(other.self_, -1)) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (self_ >= 0) (void)remote_syscall(process_, SYS_close, {static_cast<std::uint64_t>(self_)});
    if (address_ != 0) (void)remote_syscall(process_, SYS_munmap, {address_, kScratchBytes});
  }

  /// How many bytes were taken away, or a negative errno.
  Result<std::int64_t> take_away(std::span<const iovec> vectors) const {
    iovec here{const_cast<iovec*>(vectors.data()), vectors.size_bytes()};
    const iovec there{reinterpret_cast<void*>(address_), vectors.size_bytes()};
    if (::process_vm_writev(process_.pid(), &here, 1, &there, 1, 0) != static_cast<ssize_t>(vectors.size_bytes())) {
      return fail_os("write into QEMU");
    }
    return remote_syscall_returns(process_, SYS_process_madvise,
                                  {static_cast<std::uint64_t>(self_), address_, vectors.size(), MADV_DONTNEED, 0, 0});
  }

 private:
  Scratch(const RemoteProcess& process, std::uint64_t address) : process_(process), address_(address) {}
  const RemoteProcess& process_;
  std::uint64_t address_ = 0;
  std::int64_t self_ = -1;
};

/// How many of the stretches are done: it may end early without an error.
std::size_t done_by(std::int64_t bytes, std::span<const TakenStretch> stretches) {
  std::size_t done = 0;
  for (; done < stretches.size() && bytes >= static_cast<std::int64_t>(stretches[done].length); ++done) {
    bytes -= static_cast<std::int64_t>(stretches[done].length);
  }
  return done;
}

}  // namespace

Status take_away(const RemoteProcess& process, std::span<const TakenStretch> stretches) {
  if (stretches.size() <= kFewStretches) return one_by_one(process, stretches);
  const Scratch scratch = TRY(Scratch::make(process));
  std::vector<iovec> vectors;
  while (!stretches.empty()) {
    const auto some = stretches.first(std::min(stretches.size(), kStretchesAtOnce));
    vectors.clear();
    for (const auto& stretch : some) {
      vectors.push_back({reinterpret_cast<void*>(stretch.address), stretch.length});
    }
    const auto returned = TRY(scratch.take_away(vectors));
    const std::size_t done = returned > 0 ? done_by(returned, some) : 0;
    // An older kernel takes no such call; what is wrong with a single stretch its own call will say.
    if (done == 0) return one_by_one(process, stretches);
    stretches = stretches.subspan(done);
  }
  return {};
}

Status check_take_away(const RemoteProcess& process) {
  for (const long call : {SYS_madvise, SYS_mmap, SYS_pidfd_open, SYS_process_madvise, SYS_close, SYS_munmap}) {
    TRY(check_remote_syscall(process, call, {}));
  }
  return {};
}

Status punch_hole(int file, std::uint64_t file_offset, std::uint64_t length) {
  if (::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(file_offset),
                  static_cast<off_t>(length)) == 0) {
    return {};
  }
  return fail_os("take memory away from the guest");
}

}  // namespace godwit
