#include "service/wiring.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstdlib>

#include "base/random.h"
#include "base/units.h"
#include "linux_guest/linux_free_pages.h"
#include "tracking/uffd_tracker.h"
#include "tracking/virtqueues.h"
#include "vmm/qemu/descriptor_lender.h"
#include "vmm/qemu/direct_way.h"
#include "vmm/qemu/disk_queues.h"
#include "vmm/qemu/run_state.h"
#include "vmm/qemu/unseen_writers.h"
#include "vmm/qemu/vcpu_registers.h"
#include "vmm/vm_size.h"

namespace godwit {

namespace {

/// For one test only: shows that the O_DIRECT hazard is real by leaving its fix out.
bool ignores_disk_writes() {
  return std::getenv("GODWIT_UNSAFE_IGNORE_DISK_WRITES") != nullptr;
}

/// Where it can be told what of a block is there. Huge pages are few: all of them are armed.
void tell_what_is_there(const RemoteProcess& process, const qemu::BlockInfo& block, TrackedRange& range) {
  if (block.page_size != kPageSize) return;
  if (block.backing == qemu::Backing::kPrivate) {
    // Of a privately mapped file what was never touched is not empty.
    if (block.mapping.inode == 0) range.populated = Populated::kInPageTable;
    return;
  }
  auto file = process.open_backing_file(block.mapping);
  struct statfs system {};
  if (!file || ::fstatfs(file->get(), &system) != 0 || system.f_type != TMPFS_MAGIC) return;
  range.populated = Populated::kInFile;
  range.file = std::make_shared<const UniqueFd>(*std::move(file));
  range.file_offset = block.mapping.offset + (block.address - block.mapping.start);
}

std::vector<TrackedRange> tracked_ranges(const RemoteProcess& process, const qemu::Inspection& inspection,
                                         const RamLayout& layout) {
  std::vector<TrackedRange> ranges;
  const auto blocks = moved_blocks(inspection.blocks, inspection.other, DeviceWay::kDirect);
  for (std::size_t i = 0; i < layout.blocks().size(); ++i) {
    ranges.push_back({blocks[i].address, blocks[i].size, layout.blocks()[i].first_chunk});
    tell_what_is_there(process, blocks[i], ranges.back());
  }
  return ranges;
}

ListVirtqueues virtqueue_lister(qemu::QemuVm& vm) {
  return [&vm]() -> Result<std::vector<Virtqueue>> {
    std::vector<Virtqueue> queues;
    for (const auto& q : TRY(qemu::list_disk_queues(*vm.qmp, vm.inspection))) {
      queues.push_back({q.descriptors, q.available, q.used, q.size});
    }
    return queues;
  };
}

/// Rather than an error that another try, or another user, would not meet.
bool prevents_it(const Error& error) {
  return error.kind == ErrorKind::kUnsupported || error.kind == ErrorKind::kRefused ||
         error.kind == ErrorKind::kNoPermission;
}

// Pages of this size every kernel with a tracker can arm.
constexpr std::uint64_t kSurelyTracked = 2 * kMiB;

}  // namespace

std::vector<PhysicalRange> physical_ranges(const qemu::Inspection& inspection) {
  std::vector<PhysicalRange> ranges;
  for (const auto& stretch : inspection.physical) {
    const auto block = std::find_if(inspection.blocks.begin(), inspection.blocks.end(),
                                    [&](const qemu::BlockInfo& b) { return b.name == stretch.block; });
    if (block == inspection.blocks.end()) continue;
    ranges.push_back(
        {stretch.address, stretch.length, static_cast<std::size_t>(block - inspection.blocks.begin()), stretch.offset});
  }
  return ranges;
}

Status add_tracking_obstacles(qemu::QemuVm& vm) {
  auto& obstacles = vm.inspection.obstacles;
  const auto writers = TRY(qemu::find_unseen_writers(*vm.qmp, *vm.process, vm.inspection));
  obstacles.insert(obstacles.end(), writers.begin(), writers.end());
  if (const Status allowed = check_remote_userfaultfd(*vm.process, true); !allowed) {
    if (!prevents_it(allowed.error())) return allowed;
    obstacles.push_back({"what QEMU is confined by", allowed.error().message});
    return {};
  }
  const auto lender = qemu::make_descriptor_lender(*vm.qmp, *vm.process);
  for (const auto& block : vm.inspection.blocks) {
    if (block.page_size <= kSurelyTracked) continue;
    const Status tracked = try_tracking(*vm.process, block.address, block.page_size, lender.get());
    if (tracked) continue;
    if (!prevents_it(tracked.error())) return tracked;
    obstacles.push_back({fmt::format("RAM block '{}'", block.name), tracked.error().message});
  }
  return {};
}

Result<WiredTracker> wire_tracker(qemu::QemuVm& vm, const HostProfile& host, const Clock& clock, Releaser* releaser,
                                  std::stop_token cancelled) {
  TRY(check_source_host(host));
  const auto& disks = vm.inspection.direct_disks;
  const bool all_readable =
      std::all_of(disks.begin(), disks.end(), [](const auto& disk) { return disk.readable_rings; });
  std::unique_ptr<DiskWrites> disk_writes;
  if (!disks.empty() && all_readable && !ignores_disk_writes()) {
    disk_writes = read_virtqueues(*vm.memory, physical_ranges(vm.inspection), virtqueue_lister(vm));
  }
  WiredTracker wired;
  wired.quiesce = !all_readable && !ignores_disk_writes();
  wired.lender = qemu::make_descriptor_lender(*vm.qmp, *vm.process);
  wired.tracker =
      TRY(make_uffd_tracker(*vm.process, tracked_ranges(*vm.process, vm.inspection, vm.memory->layout()),
                            std::move(disk_writes), clock, {wired.lender.get(), releaser, std::move(cancelled)}));
  return wired;
}

std::unique_ptr<FreePages> wire_free_pages(qemu::QemuVm& vm, GuestMemory& main_memory) {
  return make_linux_free_pages(main_memory, physical_ranges(vm.inspection),
                               [&vm] { return qemu::page_table_roots(*vm.qmp); });
}

Result<HashKey> random_hash_key() {
  HashKey key;
  TRY(fill_with_random(key.bytes()));
  return key;
}

Status check_source_host(const HostProfile& host) {
  if (!host.pagemap_scan || !host.uffd_wp_async) {
    return fail(
        ErrorKind::kUnsupported,
        fmt::format(
            "this host's kernel {} cannot track what the guest writes: Linux 6.7 or newer is needed (asynchronous "
            "userfaultfd write-protect and PAGEMAP_SCAN)",
            host.kernel_release));
  }
  return {};
}

Status check_source_vm(const qemu::Inspection& inspection) {
  const bool suspended = inspection.status == "suspended";
  if (suspended && !qemu::keeps_suspension(inspection.fingerprint.version)) return qemu::cannot_move_suspended();
  if (inspection.status != "running" && !suspended && !qemu::is_paused(inspection.status)) {
    const auto halt = qemu::halt_of(inspection.status);
    return fail(ErrorKind::kRefused, fmt::format("this VM cannot be moved as it is: {} ('{}')",
                                                 halt ? halt->what : "QEMU is busy with it", inspection.status));
  }
  TRY(check_size(inspection.fingerprint));
  if (inspection.obstacles.empty()) return {};
  std::vector<std::string> reasons;
  for (const auto& obstacle : inspection.obstacles) reasons.push_back(obstacle.what + ": " + obstacle.why);
  return fail(ErrorKind::kUnsupported, fmt::format("this VM cannot be moved: {}", fmt::join(reasons, "; ")));
}

Status check_sink_vm(const qemu::Inspection& inspection) {
  if (inspection.status == "inmigrate") return check_size(inspection.fingerprint);
  return fail(
      ErrorKind::kRefused,
      fmt::format("this QEMU does not wait for a VM: it is '{}'. Start it with -S -incoming defer", inspection.status));
}

std::vector<qemu::BlockInfo> moved_blocks(std::vector<qemu::BlockInfo> main, const qemu::OtherBlocks& other,
                                          DeviceWay way) {
  if (way == DeviceWay::kDirect) main.insert(main.end(), other.blocks.begin(), other.blocks.end());
  return main;
}

Result<qemu::DeviceChoice> choose_device_way(qemu::QemuVm& vm, std::optional<DeviceWay> wanted) {
  if (wanted == DeviceWay::kStream) return qemu::DeviceChoice{};
  const auto why_not = TRY(qemu::why_not_directly(*vm.qmp, vm.inspection));
  if (!why_not) return qemu::DeviceChoice{DeviceWay::kDirect, {}, wanted.has_value()};
  if (wanted != DeviceWay::kDirect) return qemu::DeviceChoice{DeviceWay::kStream, *why_not, false};
  return fail(ErrorKind::kUnsupported, "this VM's devices cannot be moved directly: " + *why_not);
}

qemu::OtherBlocks other_blocks_in_order_of(const Fingerprint& source, const qemu::OtherBlocks& here) {
  qemu::OtherBlocks ordered{{}, here.missing};
  if (here.missing) return ordered;
  for (const auto& wanted : source.memory) {
    const auto is_it = [&](const auto& block) { return block.name == wanted.name; };
    if (wanted.size == 0 || std::ranges::any_of(source.blocks, is_it)) continue;
    const auto found = std::ranges::find_if(here.blocks, is_it);
    if (found == here.blocks.end() || found->size != wanted.size) {
      ordered.missing = fmt::format("RAM block '{}' is not the same there", wanted.name);
      return ordered;
    }
    ordered.blocks.push_back(*found);
  }
  if (ordered.blocks.size() != here.blocks.size()) ordered.missing = "there are other RAM blocks there";
  return ordered;
}

Result<std::vector<qemu::BlockInfo>> in_order_of(const Fingerprint& source,
                                                 const std::vector<qemu::BlockInfo>& blocks) {
  std::vector<qemu::BlockInfo> ordered;
  for (const auto& wanted : source.blocks) {
    const auto found =
        std::find_if(blocks.begin(), blocks.end(), [&](const qemu::BlockInfo& b) { return b.name == wanted.name; });
    if (found == blocks.end()) return fail(ErrorKind::kRefused, "no RAM block '" + wanted.name + "' here");
    ordered.push_back(*found);
  }
  return ordered;
}

}  // namespace godwit
