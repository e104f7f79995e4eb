// Who pays for a page of shared memory: the control group of whoever touches it first. A guest's pages are to be paid
// for by QEMU, not by the program that fills them in from outside, whose own group may allow it a hundredth of them.
//
//   fill     lane's buffer --process_vm_writev--> QEMU's mapping: the page fault is QEMU's, and so is the charge
//   touch    one byte of each page --process_vm_readv--> nowhere: the same for pages that are written in place later
//
// Slower than filling holes of the file directly (hole_filler.h), so only where the two are in different groups.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace godwit {

/// A process that maps the memory at `address`.
struct PayingProcess {
  pid_t pid = 0;
  std::uint64_t address = 0;
  /// A pidfd of it: once it has ended its number may be another process's. Null: nobody asks, for processes of our own.
  std::shared_ptr<const UniqueFd> pidfd = nullptr;

  /// The bytes that it took, from the front on; fewer if it could not have them all.
  std::size_t fill(std::uint64_t offset, Bytes in) const noexcept;
  /// As far as it goes.
  void touch(std::uint64_t offset, std::size_t length) const noexcept;
  /// For certain: neither fill() nor touch() goes anywhere then.
  bool ended() const noexcept;
};

/// Whether memory that the process touches is charged to another control group than ours.
bool charged_elsewhere(pid_t pid);

/// The memory control group named in a /proc/PID/cgroup: of the first version's memory controller if there is one, else
/// of the second version. For tests.
std::optional<std::string_view> memory_group(std::string_view text);

}  // namespace godwit
