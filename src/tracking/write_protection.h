// Asynchronous write-protection of stretches of another process's memory, by a userfaultfd that belongs to it.
#pragma once

#include <cstdint>

#include "attach/remote_process.h"
#include "base/unique_fd.h"

namespace godwit {

/// kUnsupported names what this kernel lacks for it. Touches no other process.
Status check_write_protection();

/// Once taken away, by release() or by the death of this process, the memory is as before.
class WriteProtection {
 public:
  static Result<WriteProtection> create(const RemoteProcess& process);

  /// From here on pages can be armed (PAGEMAP_SCAN). Page aligned; all of it must be mapped.
  Status cover(std::uint64_t address, std::uint64_t length);
  /// Takes the protection away piece by piece, so that no vCPU waits long for the address space's lock.
  void release() noexcept;

  WriteProtection(WriteProtection&&) = default;
  WriteProtection& operator=(WriteProtection&&) = default;
  ~WriteProtection() { release(); }

 private:
  struct Stretch {
    std::uint64_t address = 0;
    std::uint64_t length = 0;
  };
  explicit WriteProtection(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::vector<Stretch> covered_;
};

}  // namespace godwit
