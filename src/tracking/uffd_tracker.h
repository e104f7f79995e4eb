// Dirty tracking by asynchronous userfaultfd write-protect and PAGEMAP_SCAN (Linux 6.7 or newer).
#pragma once

#include <memory>
#include <stop_token>
#include <vector>

#include "attach/remote_process.h"
#include "attach/remote_userfaultfd.h"
#include "memory/ram_layout.h"
#include "tracking/dirty_tracker.h"
#include "tracking/disk_writes.h"
#include "tracking/releaser.h"
#include "tracking/tracked_range.h"

namespace godwit {

/// What makes tracking work, or end, in more places. Each may be null, else outlives the tracker.
struct TrackerHelpers {
  DescriptorLender* lender = nullptr;  ///< where the process may not call userfaultfd itself
  Releaser* releaser = nullptr;        ///< lets go slowly if this process dies
  std::stop_token cancelled = {};      ///< ends start()'s waiting for a dead engine's releaser
  unsigned scan_threads = 0;           ///< for the looks of the pause; 0: as many as its memory is worth
};

/// `process` outlives the tracker. `disk_writes` may be null: no disk can write past the page tables. kUnsupported
/// names the kernel feature that is missing.
Result<std::unique_ptr<DirtyTracker>> make_uffd_tracker(const RemoteProcess& process, std::vector<TrackedRange> ranges,
                                                        std::unique_ptr<DiskWrites> disk_writes, const Clock& clock,
                                                        const TrackerHelpers& helpers = {});

/// Whether this kernel can track memory in pages of a size: of memory that is there, tracks the page of `page_size`
/// bytes at `address` in the process for an instant; its contents stay as they are. kUnsupported if it cannot be armed.
/// `lender` may be null.
///
/// KERNEL: PAGEMAP_SCAN arms huge pages of 2 MiB, but of 1 GiB only from mid-2026 on. No feature bit tells.
Status try_tracking(const RemoteProcess& process, std::uint64_t address, std::uint64_t page_size,
                    DescriptorLender* lender);

}  // namespace godwit
