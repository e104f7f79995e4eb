// Whether this kernel can track memory in pages of a size: found out by tracking one page for an instant.
//
// KERNEL: PAGEMAP_SCAN arms huge pages of 2 MiB, but of 1 GiB only from mid-2026 on. No feature bit tells.
#pragma once

#include "attach/remote_userfaultfd.h"

namespace godwit {

/// Tracks, of memory that is there, the page of `page_size` bytes at `address` in the process and lets it go
/// again: its contents stay as they are. kUnsupported if it cannot be armed. `lender` may be null.
Status try_tracking(const RemoteProcess& process, std::uint64_t address, std::uint64_t page_size,
                    DescriptorLender* lender);

}  // namespace godwit
