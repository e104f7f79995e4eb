// Which pages of another process's private, anonymous memory hold anything, found without touching them.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "memory/page.h"

namespace godwit {

/// Any thread. The memory may be under write-protection by a dirty tracker.
class Pagemap {
 public:
  enum class Use { kScanIfPossible, kEntriesOnly };
  /// `fd` is /proc/PID/pagemap.
  explicit Pagemap(UniqueFd fd, Use use = Use::kScanIfPossible) noexcept
      : fd_(std::move(fd)), can_scan_(use == Use::kScanIfPossible) {}

  /// Adds the pages of [address, address + size) that are in memory or swapped out, and not the kernel's zero page, to
  /// `out`; page 0 there is at `address`. kPeerLost: the process is gone.
  Status find_data(std::uint64_t address, std::uint64_t size, std::span<PageWord> out) const;

 private:
  Result<bool> scan(std::uint64_t address, std::uint64_t size, std::span<PageWord> out) const;
  Status read_entries(std::uint64_t base, std::uint64_t start, std::uint64_t end, std::span<PageWord> out) const;

  UniqueFd fd_;
  mutable std::atomic<bool> can_scan_;  ///< false once the kernel has said that it does not know the ioctl
};

}  // namespace godwit
