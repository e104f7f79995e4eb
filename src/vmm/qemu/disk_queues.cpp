#include "vmm/qemu/disk_queues.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "base/limits.h"
#include "vmm/qemu/disks.h"
#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

// virtio-scsi's queues 0 (control) and 1 (events) carry no reads, and QEMU itself writes their answers.
constexpr std::uint64_t kFirstScsiRequestQueue = 2;

Status list_queues(Qmp& qmp, const DirectDisk& disk, std::vector<VirtqueueAddresses>& out) {
  const Json status = TRY(qmp.execute("x-query-virtio-status", Json{{"path", disk.controller_path}}));
  if (!has_readable_rings(status)) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("disk '{}': its driver uses packed rings or a vIOMMU: requests in flight cannot be read",
                            disk.device));
  }
  const std::uint64_t count = number_at(status, "num-vqs");
  if (count > most::kQueuesOfADevice)
    return fail(ErrorKind::kProtocol, fmt::format("a virtio device with {} queues", count));
  const std::uint64_t first = text_at(status, "name") == "virtio-scsi" ? kFirstScsiRequestQueue : 0;
  for (std::uint64_t queue = first; queue < count; ++queue) {
    const Json ring =
        TRY(qmp.execute("x-query-virtio-queue-status", Json{{"path", disk.controller_path}, {"queue", queue}}));
    VirtqueueAddresses addresses;
    addresses.descriptors = number_at(ring, "vring-desc");
    addresses.available = number_at(ring, "vring-avail");
    addresses.used = number_at(ring, "vring-used");
    const std::uint64_t size = number_at(ring, "vring-num");
    if (addresses.descriptors == 0 || size == 0) continue;  // not set up by a driver
    if (size > most::kQueueEntries) return fail(ErrorKind::kProtocol, fmt::format("a virtqueue of {} entries", size));
    addresses.size = static_cast<std::uint16_t>(size);
    out.push_back(addresses);
  }
  return {};
}

}  // namespace

Result<std::vector<VirtqueueAddresses>> list_disk_queues(Qmp& qmp, const Inspection& inspection) {
  std::vector<VirtqueueAddresses> queues;
  std::set<std::string> seen;  // several disks of one virtio-scsi share its queues
  for (const auto& disk : inspection.direct_disks) {
    if (disk.controller_path.empty()) {
      return fail(ErrorKind::kUnsupported,
                  fmt::format("disk '{}' is not virtio: requests in flight cannot be read", disk.device));
    }
    if (seen.insert(disk.controller_path).second) TRY(list_queues(qmp, disk, queues));
  }
  return queues;
}

}  // namespace godwit::qemu
