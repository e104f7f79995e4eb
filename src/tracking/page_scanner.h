// PAGEMAP_SCAN on another process: arms pages, and collects those that have been written since.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "attach/remote_process.h"
#include "base/kernel_abi.h"
#include "base/unique_fd.h"

namespace godwit {

class PageScanner {
 public:
  static Result<PageScanner> open(const RemoteProcess& process);

  /// Arms every page of the stretch, which must be under write-protection.
  Status arm(std::uint64_t address, std::uint64_t length);
  /// Tells the stretches that were written since they were armed, in ascending order, and arms them again. After an
  /// error some may be armed without having been told: nothing can be relied on any more.
  Status collect(std::uint64_t address, std::uint64_t length,
                 const std::function<void(std::uint64_t start, std::uint64_t end)>& found);

  /// As collect(), and arms nothing again.
  Status look(std::uint64_t address, std::uint64_t length,
              const std::function<void(std::uint64_t start, std::uint64_t end)>& found);

  /// Tells the stretches that are in the page table, or swapped out from it, ascending; the kernel's zero page is not.
  /// Of memory that has never been armed: marks of arming look as if they were swapped out.
  Status find_present(std::uint64_t address, std::uint64_t length,
                      const std::function<void(std::uint64_t start, std::uint64_t end)>& found);
  /// Tells the stretches that are in no page table, in ascending order: holes, pages given back, pages swapped out.
  Status find_absent(std::uint64_t address, std::uint64_t length,
                     const std::function<void(std::uint64_t start, std::uint64_t end)>& found);

 private:
  Status walk(std::uint64_t address, std::uint64_t length, const PagemapScan& wanted,
              const std::function<void(std::uint64_t start, std::uint64_t end)>& found);
  explicit PageScanner(UniqueFd pagemap);
  UniqueFd pagemap_;
  std::vector<PagemapRegion> regions_;
};

}  // namespace godwit
