// Memory that a process has registered with io_uring: the kernel pins it once and writes it ever after by physical
// address, so that no page table, and no dirty tracker that reads them, sees when.
#pragma once

#include <optional>
#include <string_view>

#include "attach/remote_process.h"

namespace godwit {

struct RegisteredBuffer {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
};

/// All of the process's rings. kTimedOut if a ring was busy each time that it was looked at.
Result<std::vector<RegisteredBuffer>> find_registered_buffers(const RemoteProcess& process);

/// One ring's file in /proc/PID/fdinfo; nothing if the kernel found the ring busy and left its buffers out. A buffer
/// whose place is not told is taken to be anywhere. For tests.
std::optional<std::vector<RegisteredBuffer>> parse_registered_buffers(std::string_view text);

}  // namespace godwit
