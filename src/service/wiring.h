// Wiring: builds what the engine needs out of what was found on this host and in this VM. Nothing registers itself.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "base/clock.h"
#include "host/host_profile.h"
#include "memory/kernels.h"
#include "tracking/dirty_tracker.h"
#include "tracking/free_pages.h"
#include "tracking/uffd_tracker.h"
#include "tracking/virtqueues.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit {

/// Where the guest sees its RAM: blocks are counted as in `inspection.blocks`, which is the order of the memory opened
/// on them.
std::vector<PhysicalRange> physical_ranges(const qemu::Inspection& inspection);

/// Adds to `vm.inspection.obstacles` what keeps the guest's writes from being tracked: what QEMU is confined by, and
/// writers past its page tables. Looks only.
Status add_tracking_obstacles(qemu::QemuVm& vm);

/// The tracker for this VM, and whether the guest must be stopped around each harvest because a disk writes past the
/// page tables in a way that cannot be read. All arguments outlive the tracker; `releaser` may
/// be null.
struct WiredTracker {
  std::unique_ptr<DescriptorLender> lender;  ///< outlives the tracker
  std::unique_ptr<DirtyTracker> tracker;
  bool quiesce = false;
};
Result<WiredTracker> wire_tracker(qemu::QemuVm& vm, const HostProfile& host, const Clock& clock, Releaser* releaser,
                                  std::stop_token cancelled);

/// Finds what the guest has free, if it is a Linux whose books can be read. `vm` and its main memory outlive it.
std::unique_ptr<FreePages> wire_free_pages(qemu::QemuVm& vm, GuestMemory& main_memory);

/// A key for the hashes of one migration.
Result<HashKey> random_hash_key();

/// kUnsupported with the reason if this host cannot move a VM away.
Status check_source_host(const HostProfile& host);
/// kUnsupported or kRefused, by name, if this VM cannot be moved.
Status check_source_vm(const qemu::Inspection& inspection);
/// kRefused, by name, if this QEMU does not wait for a migration.
Status check_sink_vm(const qemu::Inspection& inspection);

/// How a VM's devices go: as wanted, or directly if they can where nothing is wanted. kUnsupported if they were wanted
/// to go directly and cannot.
Result<qemu::DeviceChoice> choose_device_way(qemu::QemuVm& vm, std::optional<DeviceWay> wanted);
/// The blocks that are moved, in the order of their numbering: main memory comes first.
std::vector<qemu::BlockInfo> moved_blocks(std::vector<qemu::BlockInfo> main, const qemu::OtherBlocks& other,
                                          DeviceWay way);
/// The sink's other blocks in the source's order, or why they are not the same.
qemu::OtherBlocks other_blocks_in_order_of(const Fingerprint& source, const qemu::OtherBlocks& here);

/// The sink's blocks in the source's order. The fingerprints fit.
Result<std::vector<qemu::BlockInfo>> in_order_of(const Fingerprint& source, const std::vector<qemu::BlockInfo>& blocks);

}  // namespace godwit
