// Takes pages away from a running process, so that the next touch of one is a fault.
#pragma once

#include <span>

#include "attach/remote_process.h"

namespace godwit {

/// Of the process's address space, whole pages.
struct TakenStretch {
  std::uint64_t address = 0;
  std::uint64_t length = 0;  ///< bytes
};

/// Private memory: MADV_DONTNEED, made in the process. From one thread. kNoPermission, kRefused as remote_syscall();
/// kUnsupported for locked memory.
Status take_away(const RemoteProcess& process, std::span<const TakenStretch> stretches);

/// Whether seccomp filters let the process make the calls for that: kRefused if not, or if nobody can tell. Makes none.
Status check_take_away(const RemoteProcess& process);

/// Memory that lies in a file, from `file_offset` on: a hole.
Status punch_hole(int file, std::uint64_t file_offset, std::uint64_t length);

}  // namespace godwit
