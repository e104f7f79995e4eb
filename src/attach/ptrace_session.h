// The main thread of another process, held by ptrace.
//
// A session belongs to the thread that made it, and ptrace lets go of everything when that thread ends. So a session
// has a thread of its own: whatever goes wrong, a stop that never came included, the other process is let go.
#pragma once

#include <sys/user.h>

#include <cstdint>
#include <optional>

#include "attach/remote_process.h"
#include "attach/seccomp_filter.h"
#include "attach/sigframe.h"
#include "base/clock.h"

namespace godwit {

class PtraceSession {
 public:
  /// PTRACE_SEIZE: stops nothing yet. Never with PTRACE_O_EXITKILL. kNoPermission also if somebody else traces it.
  static Result<PtraceSession> seize(const RemoteProcess& process);

  /// Asks the thread to stop; await_interruption() says when it has stopped.
  Status interrupt() const;
  /// Waits until the thread has stopped where signals are delivered, with its registers as the kernel would restart
  /// from. Signals that come first are passed on. kTimedOut, or kNotFound if the process ended.
  Status await_interruption() const;
  /// Lets a stopped thread run to the next beginning or end of a system call.
  Status run_to_system_call() const;
  /// Lets a stopped thread go for good.
  Status let_go() const;

  Result<ThreadState> read_state() const;
  Result<user_regs_struct> read_registers() const;
  Status write_registers(const user_regs_struct& registers) const;
  Status write_signal_mask(std::uint64_t mask) const;

  /// All seccomp filters that the stopped thread runs under. Needs CAP_SYS_ADMIN and no filter of our own.
  Result<std::vector<FilterProgram>> read_filters() const;

  /// The thread is inside an rseq critical section, which a system call would break.
  bool in_restartable_sequence() const;
  /// The thread uses a shadow stack, with which no frame made from outside agrees.
  bool has_shadow_stack() const;

 private:
  explicit PtraceSession(const RemoteProcess& process) : process_(&process) {}
  long request(int what, std::uintptr_t address, std::uintptr_t data) const;
  Status check(long answer, const char* what) const;
  /// Waits for a stop: the signal, with the event in bits 8 and up.
  Result<int> await_stop() const;
  const RemoteProcess* process_;
};

}  // namespace godwit
