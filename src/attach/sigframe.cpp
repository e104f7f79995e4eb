#include "attach/sigframe.h"

#include <cpuid.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace godwit {
namespace {

/// What rt_sigreturn reads, from the return address to the signal mask.
struct RawFrame {
  std::uint64_t return_address = 0;
  std::uint64_t flags = 0;
  std::uint64_t link = 0;
  std::uint64_t alternate_stack = 0;
  std::uint32_t alternate_stack_flags = 0;
  std::uint32_t padding = 0;
  std::uint64_t alternate_stack_size = 0;
  std::uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
  std::uint64_t rdi = 0, rsi = 0, rbp = 0, rbx = 0, rdx = 0, rax = 0, rcx = 0, rsp = 0, rip = 0;
  std::uint64_t eflags = 0;
  std::uint16_t cs = 0, gs = 0, fs = 0, ss = 0;
  std::uint64_t error = 0, trap = 0, old_mask = 0, cr2 = 0;
  std::uint64_t xstate = 0;
  std::uint64_t reserved[8] = {};
  std::uint64_t signal_mask = 0;
};
static_assert(sizeof(RawFrame) == 312, "the x86-64 ABI fixes this");
static_assert(offsetof(RawFrame, r8) == 48 && offsetof(RawFrame, xstate) == 232);

/// The words that the kernel keeps in the unused end of the FXSAVE area.
struct SoftwareWords {
  std::uint32_t magic = 0x46505853;
  std::uint32_t extended_size = 0;  ///< of the state and the closing magic word
  std::uint64_t features = 0;       ///< which components are to be restored
  std::uint32_t state_size = 0;
  std::uint32_t padding[7] = {};
};
static_assert(sizeof(SoftwareWords) == 48);
constexpr std::uint32_t kClosingMagic = 0x46505845;
constexpr std::size_t kSoftwareWordsAt = 464;
constexpr std::size_t kLegacyAndHeader = 512 + 64;
constexpr std::size_t kFeaturesInUseAt = 512;
constexpr std::uint64_t kX87AndSse = 3;

constexpr std::uint64_t kRedZone = 128;
// UC_FP_XSTATE: extended state follows. UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS: restore ss just as it is here.
constexpr std::uint64_t kFrameFlags = 1 | 2 | 4;
// rt_sigreturn sets the alternate stack too, but forgives any that is invalid: with flags that no version knows it
// stays as it is. (ptrace cannot tell what it is.)
constexpr std::uint32_t kLeaveAlternateStackAlone = 0x00ff0000;

// The kernel's own codes for an interrupted call (linux/errno.h); user space never sees them.
constexpr std::int64_t kRestartSys = -512;
constexpr std::int64_t kRestartNoIntr = -513;
constexpr std::int64_t kRestartNoHand = -514;
constexpr std::int64_t kRestartBlock = -516;

/// Bytes of the standard-format XSAVE area that hold all components in use. Not simply all of it: the kernel refuses
/// a frame larger than the thread's own area, which without permission for AMX is smaller than what ptrace shows.
Result<std::size_t> state_size_for(std::uint64_t in_use) {
  std::size_t size = kLegacyAndHeader;
  for (unsigned component = 2; component < 64; ++component) {
    if ((in_use >> component & 1) == 0) continue;
    unsigned length = 0, offset = 0, c = 0, d = 0;
    if (__get_cpuid_count(0xd, component, &length, &offset, &c, &d) == 0 || offset < kLegacyAndHeader) {
      return fail(ErrorKind::kUnsupported, "this processor does not describe its extended state");
    }
    size = std::max<std::size_t>(size, std::size_t{offset} + length);
  }
  return size;
}

/// The xstate in the form of a signal frame.
Result<std::vector<std::byte>> framed_xstate(const std::vector<std::byte>& xstate) {
  std::uint64_t in_use = 0;
  if (xstate.size() < kLegacyAndHeader) {
    return fail(ErrorKind::kUnsupported, "the kernel gives no XSAVE state of the thread");
  }
  std::memcpy(&in_use, xstate.data() + kFeaturesInUseAt, sizeof in_use);
  const std::size_t size = TRY(state_size_for(in_use));
  if (size > xstate.size()) return fail(ErrorKind::kUnsupported, "the thread's XSAVE state is cut short");
  std::vector<std::byte> framed(size + sizeof kClosingMagic);
  std::copy_n(xstate.begin(), size, framed.begin());
  SoftwareWords words;
  words.extended_size = static_cast<std::uint32_t>(size + sizeof kClosingMagic);
  words.features = in_use | kX87AndSse;  // what is not named is put into its initial state, which is where it is
  words.state_size = static_cast<std::uint32_t>(size);
  std::memcpy(framed.data() + kSoftwareWordsAt, &words, sizeof words);
  std::memcpy(framed.data() + size, &kClosingMagic, sizeof kClosingMagic);
  return framed;
}

RawFrame raw_frame(const user_regs_struct& r) {
  RawFrame raw;
  raw.flags = kFrameFlags;
  raw.alternate_stack_flags = kLeaveAlternateStackAlone;
  raw.r8 = r.r8;
  raw.r9 = r.r9;
  raw.r10 = r.r10;
  raw.r11 = r.r11;
  raw.r12 = r.r12;
  raw.r13 = r.r13;
  raw.r14 = r.r14;
  raw.r15 = r.r15;
  raw.rdi = r.rdi;
  raw.rsi = r.rsi;
  raw.rbp = r.rbp;
  raw.rbx = r.rbx;
  raw.rdx = r.rdx;
  raw.rax = r.rax;
  raw.rcx = r.rcx;
  raw.rsp = r.rsp;
  raw.rip = r.rip;
  raw.eflags = r.eflags;
  raw.cs = static_cast<std::uint16_t>(r.cs);
  raw.gs = static_cast<std::uint16_t>(r.gs);
  raw.fs = static_cast<std::uint16_t>(r.fs);
  raw.ss = static_cast<std::uint16_t>(r.ss);
  return raw;
}

}  // namespace

user_regs_struct resumed_by_itself(user_regs_struct registers) {
  const bool in_call = static_cast<std::int64_t>(registers.orig_rax) >= 0;
  const auto code = static_cast<std::int64_t>(registers.rax);
  if (in_call && (code == kRestartSys || code == kRestartNoIntr || code == kRestartNoHand)) {
    registers.rax = registers.orig_rax;
    registers.rip -= 2;  // back onto the `syscall` (or `int 0x80`) instruction, both of two bytes
  } else if (in_call && code == kRestartBlock) {
    registers.rax = static_cast<std::uint64_t>(std::int64_t{-EINTR});
  }
  return registers;
}

Result<SignalFrame> build_signal_frame(const ThreadState& state, std::uint64_t restorer) {
  const auto xstate = TRY(framed_xstate(state.xstate));
  const user_regs_struct resumed = resumed_by_itself(state.registers);
  const std::uint64_t end = state.registers.rsp - kRedZone;
  if (state.registers.rsp < kRedZone + xstate.size() + sizeof(RawFrame) + 128) {
    return fail(ErrorKind::kUnsupported, "the stack pointer points to no stack");
  }
  const std::uint64_t xstate_at = (end - xstate.size()) & ~std::uint64_t{63};
  // As at a function's entry: a multiple of 16, less the return address.
  const std::uint64_t address = ((xstate_at - sizeof(RawFrame)) & ~std::uint64_t{15}) - 8;

  RawFrame raw = raw_frame(resumed);
  raw.return_address = restorer;
  raw.xstate = xstate_at;
  raw.signal_mask = state.signal_mask;

  SignalFrame frame{address, end, std::vector<std::byte>(xstate_at + xstate.size() - address)};
  std::memcpy(frame.bytes.data(), &raw, sizeof raw);
  std::memcpy(frame.bytes.data() + (xstate_at - address), xstate.data(), xstate.size());
  return frame;
}

}  // namespace godwit
