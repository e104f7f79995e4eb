#include "base/denied_calls.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace godwit {

namespace {

// KERNEL: numbers that the headers of Debian 12 may lack.
constexpr int kMountSetattr = 442;
constexpr int kQuotactlFd = 443;
constexpr int kOpenTreeAttr = 467;

constexpr std::array kDenied = {
    // Other programs. What a move starts by ssh has been started before.
    SYS_execve, SYS_execveat,
    // Mounts, namespaces, other roots.
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns, SYS_unshare, SYS_open_tree, kOpenTreeAttr,
    SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, kMountSetattr, SYS_mknod, SYS_mknodat,
    // The kernel's code, and what watches or programs it.
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_bpf,
    SYS_perf_event_open, SYS_syslog, SYS_iopl, SYS_ioperm, SYS_modify_ldt,
    // The host as a whole.
    SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_quotactl, kQuotactlFd, SYS_vhangup, SYS_sethostname,
    SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime,
    // Files by handle, past all folders; keys; other users; another kind of process.
    SYS_open_by_handle_at, SYS_add_key, SYS_request_key, SYS_keyctl, SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid,
    SYS_setresuid, SYS_setresgid, SYS_setfsuid, SYS_setfsgid, SYS_setgroups, SYS_personality,
    // Would make calls that no filter sees.
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register};

constexpr std::uint32_t kNewNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
constexpr std::uint32_t kX32 = 0x40000000;

constexpr sock_filter statement(std::uint16_t code, std::uint32_t value) {
  return {code, 0, 0, value};
}
constexpr sock_filter jump(std::uint16_t test, std::uint32_t value, std::uint8_t if_true, std::uint8_t if_false) {
  return {static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), if_true, if_false, value};
}
constexpr sock_filter load(std::size_t offset) {
  return statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
constexpr sock_filter answer(std::uint32_t what) {
  return statement(BPF_RET | BPF_K, what);
}

// Jumps count the instructions that they pass over; an 8-bit number each, so each test has its answer right behind it.
constexpr std::size_t kBefore = 12;
constexpr auto kFilter = [] {
  constexpr std::uint32_t kDeny = SECCOMP_RET_ERRNO | EPERM;
  std::array<sock_filter, kBefore + 2 * kDenied.size() + 1> filter{};
  std::size_t at = 0;
  filter[at++] = load(offsetof(seccomp_data, arch));
  filter[at++] = jump(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0);
  filter[at++] = answer(kDeny);
  filter[at++] = load(offsetof(seccomp_data, nr));
  filter[at++] = jump(BPF_JGE, kX32, 0, 1);
  filter[at++] = answer(kDeny);
  filter[at++] = jump(BPF_JEQ, SYS_clone3, 0, 1);
  filter[at++] = answer(SECCOMP_RET_ERRNO | ENOSYS);
  for (const int call : kDenied) {
    filter[at++] = jump(BPF_JEQ, static_cast<std::uint32_t>(call), 0, 1);
    filter[at++] = answer(kDeny);
  }
  filter[at++] = jump(BPF_JEQ, SYS_clone, 0, 3);
  filter[at++] = load(offsetof(seccomp_data, args));
  filter[at++] = jump(BPF_JSET, kNewNamespaces, 0, 1);
  filter[at++] = answer(kDeny);
  filter[at++] = answer(SECCOMP_RET_ALLOW);
  return filter;
}();

}  // namespace

std::span<const int> denied_calls() noexcept {
  static constexpr auto kNumbers = [] {
    std::array<int, kDenied.size()> numbers{};
    for (std::size_t i = 0; i < kDenied.size(); ++i) numbers[i] = static_cast<int>(kDenied[i]);
    return numbers;
  }();
  return kNumbers;
}

int deny_calls() noexcept {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  auto instructions = kFilter;
  const sock_fprog program{static_cast<unsigned short>(instructions.size()), instructions.data()};
  // Positive: the thread that could not be brought along, because it has a filter of its own.
  const long returned = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
  if (returned > 0) return EBUSY;
  return returned == 0 ? 0 : errno;
}

}  // namespace godwit
