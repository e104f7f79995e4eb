// Missing pages by userfaultfd in the hypervisor's address space.
//
//   registered (MISSING) --> taken away: a hole in the file, or MADV_DONTNEED in the hypervisor
//   fault --> read() of the descriptor --> UFFDIO_COPY: a new page appears as a whole
//
// The descriptor stays open in the hypervisor, too: if this process dies, faults wait, and nobody reads zeros in place
// of what had not come. Whoever comes after it takes the descriptor from there.
//
// KERNEL: MISSING for shared memory Linux 4.11; process_madvise(MADV_DONTNEED) on oneself, which takes many stretches
// at once, 6.13.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attach/remote_process.h"
#include "attach/remote_userfaultfd.h"
#include "memory/missing_pages.h"

namespace godwit {

/// Where a RAM block lies in the hypervisor's address space.
struct MissingRange {
  std::string name;  ///< of the block
  std::uint64_t address = 0;
  std::uint64_t length = 0;     ///< bytes
  std::uint64_t page_size = 0;  ///< bytes
  ChunkIndex first_chunk;
  UniqueFd file = {};             ///< of a shared mapping; else it is private
  std::uint64_t file_offset = 0;  ///< of the range's first byte
};

/// `process` outlives it; `lender` may be null. kUnsupported, with the reason, where a guest cannot be made to wait for
/// its memory: huge pages, a file on a disk, a kernel that delivers no faults of its own.
Result<std::unique_ptr<MissingPages>> open_missing_pages(const RemoteProcess& process, std::vector<MissingRange> ranges,
                                                         DescriptorLender* lender);

/// After the end of a process that had begun with it: finds it by its `trace`, and clears of `missing` (by chunk) what
/// is there by now. A page that comes although it is there stays as it is. `process` outlives it. kRefused where the
/// process is not as it was then.
Result<std::unique_ptr<MissingPages>> reopen_missing_pages(const RemoteProcess& process, std::string_view trace,
                                                           std::span<PageWord> missing);

}  // namespace godwit
