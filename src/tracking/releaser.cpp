#include "tracking/releaser.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "attach/proc_files.h"
#include "base/capabilities.h"
#include "base/denied_calls.h"
#include "base/limits.h"
#include "base/standby.h"
#include "base/units.h"

namespace godwit {
namespace {

// Half a millisecond each, of memory that is there.
constexpr std::uint64_t kReleasedAtOnce = 8 * kMiB;
// Where nothing is there for a while: two milliseconds for whoever comes next to something, once.
constexpr std::uint64_t kMostOfNothing = 32 * kMiB;
constexpr std::int64_t kNothingTakesNs = 100'000;
// The kernel does not take a part of a huge page; no processor has larger ones.
constexpr std::uint64_t kLargestHugePage = kGiB;
// Between two pieces: page faults that have waited are through, and the next are let in.
constexpr timespec kPause{0, 200'000};
constexpr std::size_t kMaxStretches = most::kRamBlocks;
// 100 TiB of memory; whatever holds us up longer, the kernel then undoes the rest at once.
constexpr unsigned kMaxSeconds = 1800;
constexpr int kFirstInLine = -20;
// As ps shows it; 15 bytes at most.
constexpr const char* kWaiting = "godwit-standby";
constexpr const char* kReleasing = "godwit-release";

using Stretches = std::array<ProtectedStretch, kMaxStretches>;

std::int64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

/// What the process does; makes system calls only, and never returns.
class Process {
 public:
  [[noreturn]] static void run(int socket) noexcept {
    be_on_standby(socket, kWaiting);
    // For when it lets go: whoever is put aside while he holds that lock holds up the guest for so long. Where it is
    // not allowed, so be it. Now, because it takes a right, and this process keeps none: it waits, and has a
    // descriptor.
    ::setpriority(PRIO_PROCESS, 0, kFirstInLine);
    (void)limit_this_thread(CapabilitySet());
    (void)deny_calls();
    Process process;
    while (process.take_message()) {
    }
    // The engine has gone. It has sent nothing that is not known by now.
    ::alarm(kMaxSeconds);
    process.let_go();
    ::_exit(0);
  }

 private:
  /// False at the end.
  bool take_message() noexcept {
    iovec bytes{stretches_.data(), sizeof stretches_};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(kStandbySocket, &message, 0);
    if (got < 0) return errno == EINTR;
    if (got == 0) return false;
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (userfaultfd_ >= 0) ::close(userfaultfd_);
    userfaultfd_ = -1;
    if (header == nullptr) return true;  // one byte: forget it
    std::memcpy(&userfaultfd_, CMSG_DATA(header), sizeof userfaultfd_);
    count_ = static_cast<std::size_t>(got) / sizeof(ProtectedStretch);
    return true;
  }

  void let_go() noexcept {
    if (userfaultfd_ < 0) return;
    ::prctl(PR_SET_NAME, kReleasing);
    release_piece_by_piece(userfaultfd_, std::span(stretches_).first(count_));
    ::close(userfaultfd_);
  }

  int userfaultfd_ = -1;
  Stretches stretches_;
  std::size_t count_ = 0;
};

}  // namespace

void release_piece_by_piece(int userfaultfd, std::span<const ProtectedStretch> stretches) noexcept {
  for (const ProtectedStretch& stretch : stretches) {
    std::uint64_t at_once = kReleasedAtOnce;
    bool huge_pages = false;
    for (std::uint64_t done = 0; done < stretch.length;) {
      uffdio_range range{stretch.address + done, std::min(at_once, stretch.length - done)};
      const std::int64_t began = now_ns();
      if (::ioctl(userfaultfd, UFFDIO_UNREGISTER, &range) == 0) {
        done += range.len;
        const bool nothing = now_ns() - began < kNothingTakesNs;
        if (!huge_pages) at_once = nothing ? std::min(at_once * 2, kMostOfNothing) : kReleasedAtOnce;
        if (!nothing) ::nanosleep(&kPause, nullptr);
      } else if (errno == EINVAL && !huge_pages && done == 0) {
        at_once = kLargestHugePage;
        huge_pages = true;
      } else {
        break;  // closing does what is left, only with the lock held all the while
      }
    }
  }
}

bool somebody_releases() {
  const auto processes = list_processes();
  return processes && std::any_of(processes->begin(), processes->end(),
                                  [](pid_t pid) { return name_of_process(pid).starts_with(kReleasing); });
}

Result<std::unique_ptr<Releaser>> Releaser::start() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return fail_os("socketpair");
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_os("fork");
  if (pid == 0) Process::run(theirs.get());
  return std::unique_ptr<Releaser>(new Releaser(pid, std::move(ours)));
}

Releaser::~Releaser() {
  socket_.reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

Status Releaser::hold(int userfaultfd, std::span<const ProtectedStretch> stretches) {
  if (stretches.size() > kMaxStretches) return fail(ErrorKind::kUnsupported, "too many stretches of memory");
  iovec bytes{const_cast<ProtectedStretch*>(stretches.data()), stretches.size_bytes()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof userfaultfd)] = {};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof userfaultfd);
  std::memcpy(CMSG_DATA(header), &userfaultfd, sizeof userfaultfd);
  if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) < 0) return fail_os("hand the userfaultfd over");
  return {};
}

void Releaser::forget() noexcept {
  const char anything = 0;
  (void)!::send(socket_.get(), &anything, 1, MSG_NOSIGNAL);
}

}  // namespace godwit
