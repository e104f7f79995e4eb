#include "attach/ptrace_session.h"

#include <elf.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "base/kernel_abi.h"
#include "base/small_files.h"

namespace godwit {
namespace {

// A thread in an uninterruptible sleep (a hung disk) does not stop. Seconds, because the host may be overloaded.
constexpr Duration kStopTimeout = std::chrono::seconds(3);
// While the thread is stopped or is about to be, every microsecond is the guest's: look without sleeping for a while.
constexpr int kLooksBeforeSleeping = 4000;
constexpr Duration kSleepBetweenLooks = std::chrono::microseconds(50);
// Signals that are passed on before the stop that was asked for. More than this many is a storm.
constexpr int kMaxOtherStops = 256;
// AMX makes the area 11 KiB; this leaves room for what is to come.
constexpr std::size_t kMaxXstateBytes = std::size_t{64} << 10;

constexpr int kSystemCallStop = SIGTRAP | 0x80;  // with PTRACE_O_TRACESYSGOOD
constexpr int kEventStop = 128;                  // PTRACE_EVENT_STOP

std::uintptr_t pointer(const void* data) {
  return reinterpret_cast<std::uintptr_t>(data);
}

}  // namespace

long PtraceSession::request(int what, std::uintptr_t address, std::uintptr_t data) const {
  return ::ptrace(static_cast<__ptrace_request>(what), process_->pid(), reinterpret_cast<void*>(address),
                  reinterpret_cast<void*>(data));
}

Status PtraceSession::check(long answer, const char* what) const {
  if (answer >= 0) return {};
  const int number = errno;
  if (number == ESRCH || !process_->alive()) {
    return fail(ErrorKind::kNotFound, fmt::format("process {} has ended or was taken away ({})", process_->pid(), what),
                number);
  }
  return fail(os_error(fmt::format("{} process {}", what, process_->pid()), number));
}

Result<PtraceSession> PtraceSession::seize(const RemoteProcess& process) {
  PtraceSession session(process);
  const long answer = session.request(PTRACE_SEIZE, 0, PTRACE_O_TRACESYSGOOD);
  if (answer < 0 && errno == EPERM) {
    const auto status = read_whole_file(fmt::format("/proc/{}/status", process.pid()), 1 << 16);
    const bool traced = status && value_of_line(*status, "TracerPid").value_or("0") != "0";
    return fail(
        ErrorKind::kNoPermission,
        fmt::format("process {} cannot be traced{}", process.pid(), traced ? ": another process traces it" : ""),
        EPERM);
  }
  TRY(session.check(answer, "seize"));
  // Another process may have its number by now. One that is traced keeps it.
  if (!process.alive()) return fail(ErrorKind::kNotFound, fmt::format("process {} has ended", process.pid()));
  return session;
}

Status PtraceSession::interrupt() const {
  return check(request(PTRACE_INTERRUPT, 0, 0), "interrupt");
}

Result<int> PtraceSession::await_stop() const {
  const SteadyClock clock;
  const Instant deadline = clock.now() + kStopTimeout;
  for (int looks = 0;; ++looks) {
    // Only stops: an exit status is for the process's parent, which may be us elsewhere.
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(process_->pid()), &info, WSTOPPED | WNOHANG | __WALL) != 0) {
      if (errno == EINTR) continue;
      return fail(ErrorKind::kNotFound, fmt::format("process {} has ended", process_->pid()), errno);
    }
    if (info.si_pid != 0) return info.si_status;
    if (looks < kLooksBeforeSleeping) {
      ::sched_yield();
      continue;
    }
    if (!process_->alive()) return fail(ErrorKind::kNotFound, fmt::format("process {} has ended", process_->pid()));
    if (clock.now() > deadline) {
      return fail(ErrorKind::kTimedOut, fmt::format("the main thread of process {} does not stop", process_->pid()));
    }
    std::this_thread::sleep_for(kSleepBetweenLooks);
  }
}

Status PtraceSession::await_interruption() const {
  for (int i = 0; i < kMaxOtherStops; ++i) {
    const int stop = TRY(await_stop());
    if (stop >> 8 == kEventStop) return {};  // ours, or a group stop: the thread is at the same place
    TRY(check(request(PTRACE_CONT, 0, static_cast<std::uintptr_t>(stop & 0x7f)), "continue"));
  }
  return fail(ErrorKind::kTimedOut, fmt::format("process {} is flooded with signals", process_->pid()));
}

Status PtraceSession::run_to_system_call() const {
  int signal = 0;
  for (int i = 0; i < kMaxOtherStops; ++i) {
    TRY(check(request(PTRACE_SYSCALL, 0, static_cast<std::uintptr_t>(signal)), "continue"));
    const int stop = TRY(await_stop());
    if (stop == kSystemCallStop) return {};
    // A stop of the whole process (SIGSTOP) takes hold again when we let go.
    signal = stop >> 8 == 0 ? stop : 0;
  }
  return fail(ErrorKind::kTimedOut, fmt::format("process {} is flooded with signals", process_->pid()));
}

Status PtraceSession::let_go() const {
  return check(request(PTRACE_DETACH, 0, 0), "let go");
}

Result<user_regs_struct> PtraceSession::read_registers() const {
  user_regs_struct registers{};
  iovec area{&registers, sizeof registers};
  TRY(check(request(PTRACE_GETREGSET, NT_PRSTATUS, pointer(&area)), "read the registers of"));
  constexpr unsigned long long kLongModeSegment = 0x33;
  if (area.iov_len != sizeof registers || registers.cs != kLongModeSegment) {
    return fail(ErrorKind::kUnsupported, fmt::format("process {} is not a 64-bit process", process_->pid()));
  }
  return registers;
}

Result<ThreadState> PtraceSession::read_state() const {
  ThreadState state;
  state.registers = TRY(read_registers());
  state.xstate.resize(kMaxXstateBytes);
  iovec area{state.xstate.data(), state.xstate.size()};
  if (request(PTRACE_GETREGSET, NT_X86_XSTATE, pointer(&area)) < 0) {
    if (errno != ENODEV) TRY(check(-1, "read the extended state of"));
    return fail(ErrorKind::kUnsupported, "this processor has no XSAVE", ENODEV);
  }
  state.xstate.resize(area.iov_len);
  TRY(check(request(PTRACE_GETSIGMASK, sizeof state.signal_mask, pointer(&state.signal_mask)),
            "read the signal mask of"));
  return state;
}

// Killed in the middle of one of these two calls, this process still finishes it: the kernel copies from memory that is
// present, because it has just been written, and looks at signals only on its way out.
Status PtraceSession::write_registers(const user_regs_struct& registers) const {
  return check(request(PTRACE_SETREGS, 0, pointer(&registers)), "write the registers of");
}

Status PtraceSession::write_signal_mask(std::uint64_t mask) const {
  return check(request(PTRACE_SETSIGMASK, sizeof mask, pointer(&mask)), "write the signal mask of");
}

Result<std::vector<FilterProgram>> PtraceSession::read_filters() const {
  // KERNEL: PTRACE_SECCOMP_GET_FILTER, Linux 4.4, if it was built with CONFIG_CHECKPOINT_RESTORE.
  constexpr int kGetFilter = 0x420c;
  constexpr std::uintptr_t kMaxFilters = 4096;  // the kernel stops at 32768 instructions of all of them
  std::vector<FilterProgram> filters;
  for (std::uintptr_t i = 0; i < kMaxFilters; ++i) {
    const long length = request(kGetFilter, i, 0);
    if (length < 0 && errno == ENOENT) return filters;
    if (length < 0) return fail_os("PTRACE_SECCOMP_GET_FILTER");
    FilterProgram program(static_cast<std::size_t>(length));
    if (request(kGetFilter, i, pointer(program.data())) != length) return fail_os("PTRACE_SECCOMP_GET_FILTER");
    filters.push_back(std::move(program));
  }
  return fail(ErrorKind::kUnsupported, "it has too many filters");
}

bool PtraceSession::in_restartable_sequence() const {
  // KERNEL: PTRACE_GET_RSEQ_CONFIGURATION, Linux 5.13; a kernel without it is too old for the trackers.
  struct {
    std::uint64_t area = 0;
    std::uint32_t size = 0, signature = 0, flags = 0, padding = 0;
  } configuration;
  constexpr int kGetRseqConfiguration = 0x420f;
  if (request(kGetRseqConfiguration, sizeof configuration, pointer(&configuration)) < 0) return false;
  if (configuration.area == 0) return false;
  std::uint64_t section = 0;
  constexpr std::uint64_t kSectionAt = 8;  // struct rseq: rseq_cs
  const iovec ours{&section, sizeof section};
  const iovec theirs{reinterpret_cast<void*>(configuration.area + kSectionAt), sizeof section};
  const ssize_t got = ::process_vm_readv(process_->pid(), &ours, 1, &theirs, 1, 0);
  return got != static_cast<ssize_t>(sizeof section) || section != 0;
}

bool PtraceSession::has_shadow_stack() const {
  std::uint64_t shadow_stack_pointer = 0;
  iovec area{&shadow_stack_pointer, sizeof shadow_stack_pointer};
  return request(PTRACE_GETREGSET, kShadowStackState, pointer(&area)) >= 0;
}

}  // namespace godwit
