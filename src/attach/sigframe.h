// A signal frame as the kernel would have built it: what rt_sigreturn restores a thread from.
//
//   higher addresses
//     thread's stack in use
//     rsp ------------------------------------------------------------------
//     red zone, 128 bytes: belongs to the thread's current function
//     xstate (aligned to 64): FXSAVE area with the "software" words, XSAVE header, extended state, magic word
//     frame: | address of the restorer | flags | alternate stack | general registers | signal mask |
//            ^ rsp of the injected call: its `ret` goes to the restorer, which calls rt_sigreturn
//   lower addresses
//
// Pure: nothing here touches a process. Facts of the x86-64 Linux ABI (asm/sigcontext.h, asm/ucontext.h).
#pragma once

#include <sys/user.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"

namespace godwit {

/// Everything that a thread's user side consists of.
struct ThreadState {
  user_regs_struct registers{};
  std::vector<std::byte> xstate;  ///< NT_X86_XSTATE
  std::uint64_t signal_mask = 0;
};

struct SignalFrame {
  std::uint64_t address = 0;  ///< where the bytes must lie; rsp of the injected call
  std::uint64_t end = 0;      ///< first address above the frame that it does not use
  std::vector<std::byte> bytes;
};

/// The registers with which a thread that is abandoned at this point goes on by itself. A system call that a stop has
/// interrupted is made again, as the kernel would; one that only the kernel could resume (its restart block dies with
/// rt_sigreturn) returns EINTR.
user_regs_struct resumed_by_itself(user_regs_struct registers);

/// The frame from which rt_sigreturn restores `state`. `restorer` is the address of code that calls rt_sigreturn.
/// kUnsupported if the xstate is not in a form that is known here.
Result<SignalFrame> build_signal_frame(const ThreadState& state, std::uint64_t restorer);

}  // namespace godwit
