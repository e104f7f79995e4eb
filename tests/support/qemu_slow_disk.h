// Makes the disk reads of one process slow, in the kernel, after their pages have been pinned: so that requests stay in
// flight for tens of milliseconds, as on a disk that is busy.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace godwit::testing {

/// A control group with a limit on reads. Gone with the object, processes go back to the root group.
class SlowDisk {
 public:
  /// Limits what `pid` reads from the disk that holds `file`. kUnsupported where no group can limit it (neither the
  /// blkio controller of version 1 nor the io controller of version 2 is there), kNoPermission.
  static Result<SlowDisk> limit(pid_t pid, const std::filesystem::path& file, std::uint64_t bytes_per_second);
  SlowDisk(SlowDisk&& other) noexcept;
  SlowDisk& operator=(SlowDisk&&) = delete;
  ~SlowDisk();

 private:
  explicit SlowDisk(std::filesystem::path group) : group_(std::move(group)) {}
  std::filesystem::path group_;
};

}  // namespace godwit::testing
