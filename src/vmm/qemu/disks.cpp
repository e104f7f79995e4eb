#include "vmm/qemu/disks.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

bool is_direct(const Json& node) {
  return bool_at(member(node, "cache"), "direct");
}

/// A node whose own cache is not direct may be on top of one that is (-blockdev); which disk it belongs to cannot be
/// told in every version, so then every disk is taken for direct: that costs time, never data.
Result<bool> hidden_direct_node(Qmp& qmp, const Json& disks) {
  const Json nodes = TRY(query_array(qmp, "query-named-block-nodes"));
  for (const Json& node : nodes) {
    if (!is_direct(node)) continue;
    const std::string file = text_at(node, "file");
    const bool known = std::any_of(disks.begin(), disks.end(), [&](const Json& disk) {
      const Json& inserted = member(disk, "inserted");
      return is_direct(inserted) && !file.empty() && text_at(inserted, "file") == file;
    });
    if (!known) return true;
  }
  return false;
}

/// Paths of all virtio devices; none where QEMU does not know the command, or refuses it for want of devices (10.0).
Result<std::vector<std::string>> list_virtio(Qmp& qmp) {
  std::vector<std::string> paths;
  auto answer = qmp.execute("x-query-virtio");
  if (!answer && (answer.error().kind == ErrorKind::kUnsupported || answer.error().kind == ErrorKind::kHypervisor)) {
    return paths;
  }
  if (!answer) return fail(std::move(answer).error());
  if (!answer->is_array()) return fail(ErrorKind::kProtocol, "x-query-virtio: QEMU's answer is not a list");
  for (const Json& device : *answer) paths.push_back(text_at(device, "path"));
  return paths;
}

std::string parent_of(const std::string& path) {
  return path.substr(0, std::min(path.rfind('/'), path.size()));
}

/// The virtio device that a disk is (virtio-blk) or is attached to (virtio-scsi's bus is its child); empty if there is
/// none.
Result<std::string> find_controller(Qmp& qmp, const std::string& disk, const std::vector<std::string>& virtio) {
  const auto is_virtio = [&](const std::string& path) {
    return std::find(virtio.begin(), virtio.end(), path) != virtio.end();
  };
  if (disk.empty() || is_virtio(disk)) return disk;
  const std::string bus = TRY(qom_text(qmp, disk, "parent_bus"));
  const std::string controller = parent_of(bus);
  return is_virtio(controller) ? controller : std::string();
}

/// A disk that passes the guest's SCSI commands on to a device: the kernel then writes guest pages as O_DIRECT does.
Result<bool> passes_through(Qmp& qmp, const std::string& disk) {
  if (disk.empty()) return false;
  const std::string type = TRY(qom_text(qmp, disk, "type"));
  return type == "scsi-block" || type == "scsi-generic";
}

}  // namespace

bool has_readable_rings(const Json& status) {
  const Json& features = member(member(status, "guest-features"), "transports");
  if (!features.is_array()) return false;
  return std::none_of(features.begin(), features.end(), [](const Json& feature) {
    const std::string text = feature.is_string() ? feature.get<std::string>() : "";
    return text.starts_with("VIRTIO_F_RING_PACKED") || text.starts_with("VIRTIO_F_IOMMU_PLATFORM") ||
           text.starts_with("VIRTIO_F_ACCESS_PLATFORM");
  });
}

Result<std::vector<DirectDisk>> find_direct_disks(Qmp& qmp) {
  const Json disks = TRY(query_array(qmp, "query-block"));
  const bool all = TRY(hidden_direct_node(qmp, disks));
  const auto virtio = TRY(list_virtio(qmp));
  std::vector<DirectDisk> found;
  for (const Json& disk : disks) {
    const Json& inserted = member(disk, "inserted");
    if (inserted.is_null()) continue;
    const std::string path = text_at(disk, "qdev");
    if (!all && !is_direct(inserted)) {
      const bool passes = TRY(passes_through(qmp, path));
      if (!passes) continue;
    }
    if (path.empty()) continue;  // an export or a job uses it, no device of the guest
    DirectDisk direct;
    direct.device = text_at(disk, "device");
    if (direct.device.empty()) direct.device = path;
    direct.controller_path = TRY(find_controller(qmp, path, virtio));
    if (!direct.controller_path.empty()) {
      const Json status = TRY(qmp.execute("x-query-virtio-status", Json{{"path", direct.controller_path}}));
      direct.readable_rings = has_readable_rings(status);
    }
    found.push_back(std::move(direct));
  }
  return found;
}

}  // namespace godwit::qemu
