#include "attach/remote_userfaultfd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include <cerrno>
#include <climits>

namespace godwit {
namespace {

constexpr std::uint64_t kUserModeOnly = 1;  // KERNEL: UFFD_USER_MODE_ONLY, Linux 5.11

Result<int> call_userfaultfd(const RemoteProcess& process, std::uint64_t flags) {
  const auto returned =
      TRY_IN("userfaultfd", remote_syscall(process, SYS_userfaultfd, {O_CLOEXEC | O_NONBLOCK | flags}));
  if (returned > INT_MAX) return fail(ErrorKind::kIo, fmt::format("userfaultfd returned {}", returned));
  return static_cast<int>(returned);
}

bool is_userfaultfd(const std::string& link) {
  char target[64];
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  return length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == "anon_inode:[userfaultfd]";
}

}  // namespace

Result<RemoteUserfaultfd> create_remote_userfaultfd(const RemoteProcess& process) {
  RemoteUserfaultfd made;
  auto remote = call_userfaultfd(process, 0);
  if (!remote && remote.error().os_error == EPERM) {
    // vm.unprivileged_userfaultfd=0, and the process has no CAP_SYS_PTRACE.
    made.user_mode_only = true;
    remote = call_userfaultfd(process, kUserModeOnly);
  }
  if (!remote) return fail(std::move(remote).error());

  auto taken = process.take_descriptor(*remote);
  // Closed also if it could not be taken, and only if it is what we made: anything else is not ours to close.
  if (is_userfaultfd(fmt::format("/proc/{}/fd/{}", process.pid(), *remote))) {
    TRY_IN("close the userfaultfd", remote_syscall(process, SYS_close, {static_cast<std::uint64_t>(*remote)}));
  }
  if (!taken) return fail(std::move(taken).error());
  made.fd = *std::move(taken);
  if (!is_userfaultfd(fmt::format("/proc/self/fd/{}", made.fd.get()))) {
    return fail(ErrorKind::kIo, fmt::format("descriptor {} of process {} is no userfaultfd", *remote, process.pid()));
  }
  return made;
}

}  // namespace godwit
