// Missing pages by userfaultfd in the hypervisor's address space.
//
//   registered (MISSING) --> taken away: a hole in the file, or MADV_DONTNEED in the hypervisor
//   fault --> read() of the descriptor --> UFFDIO_COPY: a new page appears as a whole
//
// Huge pages of hugetlbfs go another way (huge_range.h).
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
#include "postcopy/missing_range.h"

namespace godwit {

/// `process` outlives it; `lender` may be null. kUnsupported, with the reason, where a guest cannot be made to wait for
/// its memory: huge pages of its own, a file on a disk, a kernel that delivers no faults of its own.
Result<std::unique_ptr<MissingPages>> open_missing_pages(const RemoteProcess& process, std::vector<MissingRange> ranges,
                                                         DescriptorLender* lender);

/// After the end of a process that had begun with it: finds it by its `trace`, and clears of `missing` (by chunk) what
/// is there by now. A page that comes although it is there stays as it is. `process` outlives it. kRefused where the
/// process is not as it was then.
Result<std::unique_ptr<MissingPages>> reopen_missing_pages(const RemoteProcess& process, std::string_view trace,
                                                           std::span<PageWord> missing);

}  // namespace godwit
