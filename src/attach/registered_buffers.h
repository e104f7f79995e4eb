// Memory that a process has registered with io_uring: the kernel pins it once and writes it ever after by physical
// address, so that no page table, and no dirty tracker that reads them, sees when.
//
// No QEMU up to 10.0 is known to do so with guest RAM. Its own io_uring engine (aio=io_uring) registers its ring's
// descriptor and no buffers. Its libblkio drivers (since 7.2) hand guest RAM to the library: "nvme-io_uring" and the
// "virtio-blk-*" ones are refused by their names; for "io_uring" QEMU leaves memory out that a driver would pin without
// needing it. So the evidence is what the kernel prints of each of QEMU's rings, not a name or a version: that holds
// for builds that are patched and for versions to come.
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
