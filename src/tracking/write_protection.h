// Asynchronous write-protection of stretches of another process's memory, by a userfaultfd that belongs to it.
#pragma once

#include <cstdint>
#include <stop_token>
#include <vector>

#include "attach/remote_process.h"
#include "attach/remote_userfaultfd.h"
#include "base/unique_fd.h"
#include "tracking/releaser.h"

namespace godwit {

/// kUnsupported names what this kernel lacks for it. Touches no other process.
Status check_write_protection();

/// Once taken away, by release() or by the death of this process, the memory is as before.
class WriteProtection {
 public:
  /// `lender` may be null (attach/remote_userfaultfd.h).
  static Result<WriteProtection> create(const RemoteProcess& process, DescriptorLender* lender);

  /// From here on pages can be armed (PAGEMAP_SCAN). Page aligned; all of it must be mapped.
  /// While a dead engine's process lets go of it, that is waited for: kCancelled as soon as `cancelled`.
  Status cover(std::uint64_t address, std::uint64_t length, const std::stop_token& cancelled = {});
  /// For whoever releases it if we die.
  int descriptor() const noexcept { return fd_.get(); }
  std::span<const ProtectedStretch> covered() const noexcept { return covered_; }
  /// Takes the protection away piece by piece, so that no vCPU waits long for the address space's lock.
  void release() noexcept;

  WriteProtection(WriteProtection&&) = default;
  WriteProtection& operator=(WriteProtection&&) = default;
  ~WriteProtection() { release(); }

 private:
  explicit WriteProtection(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
  std::vector<ProtectedStretch> covered_;
};

}  // namespace godwit
