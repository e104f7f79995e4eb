#include "attach/seccomp_look.h"

#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "base/small_files.h"

namespace godwit {
namespace {

constexpr std::size_t kMaxStatusBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxCommandLineBytes = std::size_t{4} << 20;

std::string name_of_call(std::int32_t number) {
  switch (number) {
    case SYS_userfaultfd:
      return "userfaultfd";
    case SYS_ioctl:
      return "ioctl";
    case SYS_close:
      return "close";
    case SYS_rt_sigreturn:
      return "rt_sigreturn";
    case SYS_madvise:
      return "madvise";
    case SYS_process_madvise:
      return "process_madvise";
    case SYS_mmap:
      return "mmap";
    case SYS_munmap:
      return "munmap";
    case SYS_pidfd_open:
      return "pidfd_open";
    default:
      return fmt::format("system call {}", number);
  }
}

/// A number from /proc/PID/status; 0 where there is no such line.
unsigned status_number(std::string_view status, std::string_view name) {
  const std::string text = value_of_line(status, name).value_or("");
  unsigned value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// QEMU's own filter (-sandbox on) is a list of denied calls on which none of ours is, whatever its obsolete,
/// elevateprivileges, spawn and resourcecontrol say (7.2 to 10), so it need not be read. Only if it is the only one.
bool is_qemus_own(const RemoteProcess& process, unsigned filters, std::span<const FilteredCall> calls) {
  constexpr std::array kNeverListed = {SYS_userfaultfd, SYS_ioctl,  SYS_close,      SYS_rt_sigreturn,   SYS_madvise,
                                       SYS_mmap,        SYS_munmap, SYS_pidfd_open, SYS_process_madvise};
  const bool harmless = std::all_of(calls.begin(), calls.end(), [&](const FilteredCall& call) {
    return std::find(kNeverListed.begin(), kNeverListed.end(), call.number) != kNeverListed.end();
  });
  if (filters != 1 || !harmless) return false;
  const auto line = read_whole_file(fmt::format("/proc/{}/cmdline", process.pid()), kMaxCommandLineBytes);
  if (!line) return false;
  using std::string_view_literals::operator""sv;
  return line->find("\0-sandbox\0on\0"sv) != std::string::npos || line->find("\0-sandbox\0on,"sv) != std::string::npos;
}

Status judge(const RemoteProcess& process, const FilterAnswer& answer, const FilteredCall& call) {
  if (answer.verdict == FilterVerdict::kAllows) return {};
  const std::string name = name_of_call(call.number);
  switch (answer.verdict) {
    case FilterVerdict::kKills:
      return fail(ErrorKind::kRefused,
                  fmt::format("process {} runs under a seccomp filter that kills it for {}, so the call was not made",
                              process.pid(), name));
    case FilterVerdict::kDenies:
      return fail(ErrorKind::kRefused,
                  fmt::format("process {} runs under a seccomp filter that denies {}{}", process.pid(), name,
                              answer.error == 0 ? "" : fmt::format(" ({})", std::strerror(answer.error))));
    default:
      return fail(ErrorKind::kRefused,
                  fmt::format("process {} runs under a seccomp filter of an unknown kind, so {} was not called",
                              process.pid(), name));
  }
}

}  // namespace

Status check_filters_allow(const PtraceSession& session, const RemoteProcess& process,
                           std::span<const FilteredCall> calls) {
  const std::string status = TRY(read_whole_file(fmt::format("/proc/{}/status", process.pid()), kMaxStatusBytes));
  const unsigned mode = status_number(status, "Seccomp");
  if (mode == 0) return {};
  constexpr unsigned kStrict = 1;  // read, write, exit and sigreturn only
  if (mode == kStrict) {
    return fail(ErrorKind::kRefused, fmt::format("process {} runs under seccomp's strict mode", process.pid()));
  }
  const auto filters = session.read_filters();
  if (!filters) {
    // KERNEL: Seccomp_filters, Linux 5.9.
    if (is_qemus_own(process, status_number(status, "Seccomp_filters"), calls)) return {};
    return fail(
        ErrorKind::kRefused,
        fmt::format("process {} runs under a seccomp filter that this program cannot read ({}), and it may kill "
                    "QEMU for {}; run godwit with CAP_SYS_ADMIN and without a seccomp filter of its own, or QEMU under "
                    "no other filter than that of its own -sandbox",
                    process.pid(), filters.error().message,
                    calls.empty() ? "a call" : name_of_call(calls.front().number)));
  }
  for (const FilteredCall& call : calls) TRY(judge(process, ask_filters(*filters, call), call));
  return {};
}

}  // namespace godwit
