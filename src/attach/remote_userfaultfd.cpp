#include "attach/remote_userfaultfd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include <cerrno>
#include <climits>

#include "base/kernel_abi.h"

namespace godwit {
namespace {

constexpr const char* kDevice = "/dev/userfaultfd";
constexpr std::uint64_t kFlags = O_CLOEXEC | O_NONBLOCK;

Result<int> as_descriptor(std::int64_t returned, std::string_view call) {
  if (returned >= 0 && returned <= INT_MAX) return static_cast<int>(returned);
  if (returned < 0 && returned > -4096) return fail(os_error(call, static_cast<int>(-returned)));
  return fail(ErrorKind::kIo, fmt::format("{} returned {}", call, returned));
}

bool is_userfaultfd(const std::string& link) {
  char target[64];
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  return length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == "anon_inode:[userfaultfd]";
}

/// What became of the first way: a descriptor, or why the process may not go it.
struct Called {
  int descriptor = -1;
  bool user_mode_only = false;
  std::string denied;
};

Result<Called> call_userfaultfd(const RemoteProcess& process) {
  Called called;
  // The second where vm.unprivileged_userfaultfd=0 and the process has no CAP_SYS_PTRACE.
  for (const std::uint64_t mode : {std::uint64_t{0}, std::uint64_t{kUserModeOnly}}) {
    const auto returned = remote_syscall_returns(process, SYS_userfaultfd, {kFlags | mode});
    if (!returned && returned.error().kind == ErrorKind::kRefused) {
      called.denied = returned.error().message;
      return called;
    }
    if (!returned) return fail(Error(returned.error()).in("userfaultfd"));
    // EACCES: the rules of a security module. ENOSYS: a filter that pretends to be an older kernel.
    if (*returned == -EPERM || *returned == -EACCES || *returned == -ENOSYS) {
      called.denied =
          os_error(fmt::format("process {} may not call userfaultfd", process.pid()), static_cast<int>(-*returned))
              .message;
      continue;
    }
    called.descriptor = TRY(as_descriptor(*returned, "userfaultfd"));
    called.user_mode_only = mode != 0;
    return called;
  }
  return called;
}

/// The ioctl makes the very same thing, and asks only who may open the device. Every QEMU calls ioctl.
Result<int> call_by_lent_device(const RemoteProcess& process, DescriptorLender& lender) {
  const UniqueFd device(::open(kDevice, O_RDWR | O_CLOEXEC));
  if (!device) return fail_os(fmt::format("open {}", kDevice));
  const int there = TRY(lender.lend(device.get()));
  const auto returned =
      remote_syscall_returns(process, SYS_ioctl, {static_cast<std::uint64_t>(there), kNewUserfaultfd, kFlags});
  lender.take_back();
  return as_descriptor(TRY(Result<std::int64_t>(returned)), "USERFAULTFD_IOC_NEW");
}

Error denied_for_good(std::string_view directly, std::string_view by_device) {
  return {ErrorKind::kUnsupported,
          fmt::format("what the guest writes cannot be tracked: {}; and with {}: {}", directly, kDevice, by_device), 0};
}

}  // namespace

Result<RemoteUserfaultfd> create_remote_userfaultfd(const RemoteProcess& process, DescriptorLender* lender,
                                                    Original original) {
  const Called called = TRY(call_userfaultfd(process));
  RemoteUserfaultfd made;
  made.user_mode_only = called.user_mode_only;
  int remote = called.descriptor;
  if (remote < 0) {
    if (lender == nullptr) return fail(denied_for_good(called.denied, "nobody can lend it"));
    auto lent = call_by_lent_device(process, *lender);
    if (!lent) return fail(denied_for_good(called.denied, lent.error().message));
    remote = *lent;
  }

  auto taken = process.take_descriptor(remote);
  const bool kept = taken && original == Original::kKept;
  if (kept) made.remote = remote;
  // Closed also if it could not be taken, and only if it is what we made: anything else is not ours to close.
  if (!kept && is_userfaultfd(fmt::format("/proc/{}/fd/{}", process.pid(), remote))) {
    TRY_IN("close the userfaultfd", remote_syscall(process, SYS_close, {static_cast<std::uint64_t>(remote)}));
  }
  if (!taken) return fail(std::move(taken).error());
  made.fd = *std::move(taken);
  if (!is_userfaultfd(fmt::format("/proc/self/fd/{}", made.fd.get()))) {
    return fail(ErrorKind::kIo, fmt::format("descriptor {} of process {} is not a userfaultfd", remote, process.pid()));
  }
  return made;
}

Result<RemoteUserfaultfd> take_remote_userfaultfd(const RemoteProcess& process, int number) {
  if (number < 0 || !is_userfaultfd(fmt::format("/proc/{}/fd/{}", process.pid(), number))) {
    return fail(ErrorKind::kNotFound, fmt::format("process {} has no userfaultfd {}", process.pid(), number));
  }
  RemoteUserfaultfd taken;
  taken.fd = TRY(process.take_descriptor(number));
  taken.remote = number;
  if (is_userfaultfd(fmt::format("/proc/self/fd/{}", taken.fd.get()))) return taken;
  return fail(ErrorKind::kNotFound, fmt::format("process {} has no userfaultfd {}", process.pid(), number));
}

Status check_remote_userfaultfd(const RemoteProcess& process, bool can_lend) {
  const Status directly = check_remote_syscall(process, SYS_userfaultfd, {kFlags});
  if (directly || directly.error().kind != ErrorKind::kRefused) return directly;
  if (!can_lend || ::access(kDevice, R_OK | W_OK) != 0) {
    return fail(
        denied_for_good(directly.error().message, can_lend ? "this host has no such device" : "nobody lends it"));
  }
  // Which number it will have there is not known yet; that a filter looks at it is not known of any either.
  const Status by_device = check_remote_syscall(process, SYS_ioctl, {0, kNewUserfaultfd, kFlags});
  if (!by_device && by_device.error().kind == ErrorKind::kRefused) {
    return fail(denied_for_good(directly.error().message, by_device.error().message));
  }
  return by_device;
}

}  // namespace godwit
