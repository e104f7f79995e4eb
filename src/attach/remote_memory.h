// A process's memory: reading, writing, and finding instructions that it already has.
#pragma once

#include <cstdint>

#include "attach/remote_process.h"
#include "base/bytes.h"

namespace godwit {

/// Reads exactly `out.size()` bytes of the process's memory.
Status read_remote(const RemoteProcess& process, std::uint64_t address, MutableBytes out);
/// Writes all of `bytes`, only where the process itself could write (unlike ptrace and /proc/PID/mem, which write
/// through guard pages too).
Status write_remote(const RemoteProcess& process, std::uint64_t address, Bytes bytes);

/// Code with which a system call can be made in the process.
struct CallCode {
  static constexpr std::uint64_t kSystemCallLength = 2;  ///< bytes of the instruction

  std::uint64_t system_call = 0;  ///< `syscall; ret`
  std::uint64_t restorer = 0;     ///< `mov $15, %rax; syscall`: calls rt_sigreturn
  std::uint64_t restorer_end = 0;
};

/// Looks in the C library first, then in all other code that comes from files. About a millisecond; the process runs
/// meanwhile. kUnsupported if it has no such code.
Result<CallCode> find_call_code(const RemoteProcess& process, const std::vector<Mapping>& mappings);

/// Whether the code is (still) there.
bool holds_call_code(const RemoteProcess& process, const CallCode& code);

}  // namespace godwit
