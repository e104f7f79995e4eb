// One system call made in another process, so that our death at any instruction leaves it as if nothing had happened.
//
//   we                                       the main thread of the other process
//   --------------------------------------   ------------------------------------------------------------------
//   PTRACE_SEIZE, PTRACE_INTERRUPT           stops; if it was in a system call, the kernel has noted "restart me"
//   read registers, xstate, signal mask
//   look into its seccomp filters           (would they kill it for the call, or for rt_sigreturn?)
//   write a signal frame below the red zone  (scratch memory: nobody uses it)
//   PTRACE_SETREGS                  ---+     rip = `syscall; ret`, rsp = the frame, rax = the call's number
//   PTRACE_SETSIGMASK: block all       |
//   PTRACE_SYSCALL, twice              |     makes the call
//   PTRACE_INTERRUPT                   |
//   PTRACE_SETSIGMASK: as before       |
//   PTRACE_SETREGS: as before       ---+     the kernel restarts the interrupted call, with its exact timeout
//   PTRACE_DETACH
//
// Why it is death-safe: a tracer's death lets the thread go on from the registers it has. Before the first SETREGS and
// after the last those are its own. In between (the bracket) it makes the call, `ret` takes it to the C library's
// restorer, and rt_sigreturn puts everything back from the frame: general registers, extended state, signal mask, and a
// restart of the interrupted call as the kernel would have done it. Each arrow is one atomic system call, and the order
// of SETREGS and SETSIGMASK sees to it that the mask is never foreign while the registers are the thread's own.
//
// So the frame serves only if we die. While we are alive we put the registers back ourselves, because rt_sigreturn
// would drop the kernel's restart block, and poll or nanosleep would return EINTR.
//
// The call is made only where it does no harm: on the thread's first stack (a frame below a coroutine's or an alternate
// stack could overwrite what lies there), and not inside a restartable sequence. Else we let go and try again.
#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <thread>

#include "attach/call_place.h"
#include "attach/ptrace_session.h"
#include "attach/remote_call.h"
#include "attach/remote_memory.h"
#include "attach/seccomp_look.h"

namespace godwit {
namespace {

// Main loops leave their coroutines within milliseconds; ten times what a slow disk needs is still bounded.
constexpr int kMaxAttempts = 1000;
constexpr Duration kPauseBetweenAttempts = std::chrono::milliseconds(2);

struct Call {
  long number = 0;
  std::array<std::uint64_t, 6> arguments{};
  bool only_ask = false;  ///< whether it would be allowed
};

Result<CallPlace> find_call_place(const RemoteProcess& process) {
  const auto mappings = TRY(process.mappings());
  const CallCode code = TRY(find_call_code(process, mappings));
  const auto found =
      std::find_if(mappings.begin(), mappings.end(), [](const Mapping& mapping) { return mapping.path == "[stack]"; });
  if (found == mappings.end()) {
    return fail(ErrorKind::kUnsupported, fmt::format("process {} has no stack of the usual kind", process.pid()));
  }
  return CallPlace{code, found->start, found->end};
}

user_regs_struct registers_for(const Call& call, user_regs_struct registers, const CallCode& code,
                               const SignalFrame& frame) {
  registers.orig_rax = ~0ULL;  // not in a system call: the kernel has nothing to restart
  registers.rax = static_cast<std::uint64_t>(call.number);
  registers.rdi = call.arguments[0];
  registers.rsi = call.arguments[1];
  registers.rdx = call.arguments[2];
  registers.r10 = call.arguments[3];
  registers.r8 = call.arguments[4];
  registers.r9 = call.arguments[5];
  registers.rip = code.system_call;
  registers.rsp = frame.address;
  return registers;
}

class RemoteCall {
 public:
  RemoteCall(const RemoteProcess& process, const CallPlace& place, const Call& call,
             const std::function<void(CallStep)>& on_step)
      : process_(process), place_(place), code_(place.code), call_(call), on_step_(on_step) {}

  /// What the call returned; nothing if the thread was at a place where no call can be made.
  Result<std::optional<std::int64_t>> attempt() const {
    const PtraceSession session = TRY(PtraceSession::seize(process_));
    on_step_(CallStep::kSeized);
    TRY(session.interrupt());
    on_step_(CallStep::kInterrupting);
    TRY(session.await_interruption());
    on_step_(CallStep::kStopped);
    auto result = make(session);
    // After an error or a refusal too: what state the thread is in, it can be let go.
    const Status gone = session.let_go();
    if (!result) return result;
    TRY(gone);
    on_step_(CallStep::kLetGo);
    return result;
  }

 private:
  Result<std::optional<std::int64_t>> make(const PtraceSession& session) const {
    const ThreadState state = TRY(session.read_state());
    on_step_(CallStep::kStateRead);
    TRY(check_filters_allow(session, process_, calls_made()));
    on_step_(CallStep::kAllowed);
    if (call_.only_ask) return 0;
    if (session.has_shadow_stack()) return fail(ErrorKind::kUnsupported, "the process uses a shadow stack");
    const SignalFrame frame = TRY(build_signal_frame(state, code_.restorer));
    if (frame.address < place_.stack_begin || frame.end >= place_.stack_end) return std::nullopt;
    if (session.in_restartable_sequence()) return std::nullopt;
    // Unloaded, or another program runs in the process by now.
    if (!holds_call_code(process_, code_)) return std::nullopt;
    TRY(write_remote(process_, frame.address, frame.bytes));
    on_step_(CallStep::kFrameWritten);

    TRY(session.write_registers(registers_for(call_, state.registers, code_, frame)));
    on_step_(CallStep::kRegistersWritten);
    TRY(session.write_signal_mask(~0ULL));
    on_step_(CallStep::kSignalsBlocked);
    const std::int64_t returned = TRY(run_call(session, frame));
    // The stop that this asks for never comes; but it makes the kernel look at the restored registers again and restart
    // the call that they are in.
    TRY(session.interrupt());
    TRY(session.write_signal_mask(state.signal_mask));
    on_step_(CallStep::kMaskRestored);
    TRY(session.write_registers(state.registers));
    on_step_(CallStep::kRegistersRestored);
    return returned;
  }

  /// By us, and by the thread itself if we die.
  std::array<FilteredCall, 2> calls_made() const {
    return {filtered_call(call_.number, call_.arguments, code_.system_call + CallCode::kSystemCallLength),
            filtered_call(SYS_rt_sigreturn, {}, code_.restorer_end)};
  }

  Result<std::int64_t> run_call(const PtraceSession& session, const SignalFrame& frame) const {
    TRY(session.run_to_system_call());
    const auto begun = TRY(session.read_registers());
    if (static_cast<long>(begun.orig_rax) != call_.number || begun.rsp != frame.address) {
      return fail(ErrorKind::kIo, fmt::format("the thread makes call {} instead of {}", begun.orig_rax, call_.number));
    }
    on_step_(CallStep::kCallBegun);
    TRY(session.run_to_system_call());
    const auto ended = TRY(session.read_registers());
    if (ended.rsp != frame.address) return fail(ErrorKind::kIo, "the thread did not come back from the call");
    on_step_(CallStep::kCallEnded);
    return static_cast<std::int64_t>(ended.rax);
  }

  const RemoteProcess& process_;
  const CallPlace& place_;
  const CallCode& code_;
  const Call& call_;
  const std::function<void(CallStep)>& on_step_;
};

Result<std::int64_t> attempt_until_made(const RemoteProcess& process, const Call& call,
                                        const std::function<void(CallStep)>& on_step) {
  if (const auto kept = process.call_place().get()) {
    const auto returned = TRY(RemoteCall(process, *kept, call, on_step).attempt());
    if (returned) return *returned;
  }
  for (int i = 0; i < kMaxAttempts; ++i) {
    if (i > 0) std::this_thread::sleep_for(kPauseBetweenAttempts);
    const CallPlace place = TRY(find_call_place(process));
    process.call_place().keep(place);
    const auto returned = TRY(RemoteCall(process, place, call, on_step).attempt());
    if (returned) return *returned;
  }
  return fail(ErrorKind::kTimedOut,
              fmt::format("the main thread of process {} was never on its own stack", process.pid()));
}

Result<std::int64_t> on_own_thread(const RemoteProcess& process, const Call& call,
                                   const std::function<void(CallStep)>& on_step) {
  Result<std::int64_t> returned = 0;
  try {
    std::thread([&] { returned = attempt_until_made(process, call, on_step); }).join();
  } catch (const std::system_error& error) {
    return fail(os_error("start a thread", error.code().value()));
  }
  return returned;
}

}  // namespace

Result<std::int64_t> remote_syscall_in_steps(const RemoteProcess& process, long number,
                                             const std::array<std::uint64_t, 6>& arguments,
                                             const std::function<void(CallStep)>& on_step) {
  return on_own_thread(process, Call{number, arguments}, on_step);
}

Result<std::int64_t> remote_syscall_returns(const RemoteProcess& process, long number,
                                            std::array<std::uint64_t, 6> arguments) {
  return on_own_thread(process, Call{number, arguments}, [](CallStep) {});
}

Result<std::int64_t> remote_syscall(const RemoteProcess& process, long number, std::array<std::uint64_t, 6> arguments) {
  const std::int64_t returned = TRY(remote_syscall_returns(process, number, arguments));
  constexpr std::int64_t kLargestErrno = 4095;
  if (returned >= 0 || returned < -kLargestErrno) return returned;
  return fail(
      os_error(fmt::format("system call {} in process {}", number, process.pid()), static_cast<int>(-returned)));
}

Status check_remote_syscall(const RemoteProcess& process, long number, std::array<std::uint64_t, 6> arguments) {
  TRY(on_own_thread(process, Call{number, arguments, true}, [](CallStep) {}));
  return {};
}

}  // namespace godwit
