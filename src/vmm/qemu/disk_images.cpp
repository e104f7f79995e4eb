#include "vmm/qemu/disk_images.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "vmm/qemu/device_tree.h"
#include "vmm/qemu/image_file.h"
#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

constexpr std::size_t kMaxDisks = 256;
constexpr std::size_t kMaxName = 255;
constexpr std::size_t kMaxFile = 512;
// Enough to tell an empty disk, another VM's or an old state from this one; and so few that the sink has read them,
// from slow disks too, before the source takes it for dead.
constexpr std::size_t kMostParts = 16;
constexpr std::size_t kFewestParts = 4;
constexpr std::size_t kMostSamples = 256;

/// "/machine/peripheral/vb/virtio-backend" and "vb" are of the device with the id vb.
std::string id_in(std::string qdev) {
  constexpr std::string_view kFolder = "/machine/peripheral/";
  if (qdev.starts_with(kFolder)) {
    qdev.erase(0, kFolder.size());
    qdev.resize(std::min(qdev.find('/'), qdev.size()));
  }
  return qdev.starts_with('/') ? std::string() : qdev;
}

/// The device of the guest that uses it; none for what only an export or a job uses.
const TreeDevice* find_device(const std::vector<TreeDevice>& tree, const Json& block) {
  const std::string drive = text_at(block, "device");
  const std::string node = text_at(member(block, "inserted"), "node-name");
  const std::string id = id_in(text_at(block, "qdev"));
  for (const TreeDevice& device : tree) {
    const auto used = device.properties.find("drive");
    if (used == device.properties.end()) continue;
    if (!used->second.empty() && (used->second == drive || used->second == node)) return &device;
    if (!id.empty() && device.id == id) return &device;
  }
  return nullptr;
}

/// "ssh://user@host/x" without "user@"; a password has no place in what is sent or shown.
std::string without_credentials(std::string name) {
  const auto scheme = name.find("://");
  if (scheme == std::string::npos) {
    // rbd:pool/image:id=admin:key=...
    if (name.starts_with("rbd:")) name.resize(std::min(name.find(':', 4), name.size()));
    return name;
  }
  const auto host = scheme + 3;
  const auto slash = std::min(name.find('/', host), name.size());
  const auto at = name.rfind('@', slash);
  if (at != std::string::npos && at > host) name.erase(host, at + 1 - host);
  return name;
}

/// The id that the operator gave: of the PCI function, where a virtio disk sits behind one.
std::string id_of(const std::vector<TreeDevice>& tree, const TreeDevice* device) {
  if (device == nullptr) return {};
  const bool is_inner = device->id.empty() && device->parent && tree[*device->parent].place == device->place;
  return is_inner ? tree[*device->parent].id : device->id;
}

std::string name_for_people(const std::string& id, const Json& block) {
  const std::string names[] = {id, text_at(block, "device"), text_at(member(block, "inserted"), "node-name"),
                               text_at(block, "qdev")};
  for (const auto& name : names) {
    if (!name.empty()) return name.substr(0, kMaxName);
  }
  return "without a name";
}

Disk describe(const Json& block, const TreeDevice* device, const std::string& id) {
  const Json& inserted = member(block, "inserted");
  const Json& image = member(inserted, "image");
  const Json& cache = member(inserted, "cache");
  Disk disk;
  disk.place = device == nullptr ? std::string() : device->place;
  disk.firmware = device != nullptr && device->type.starts_with("cfi.pflash");
  disk.name = name_for_people(id, block);
  disk.inserted = !inserted.is_null();
  disk.node = text_at(inserted, "node-name").substr(0, kMaxName);
  disk.format = text_at(image, "format").substr(0, kMaxName);
  disk.size = number_at(image, "virtual-size");
  disk.read_only = bool_at(inserted, "ro");
  disk.direct = bool_at(cache, "direct");
  disk.no_flush = bool_at(cache, "no-flush");
  disk.file = without_credentials(text_at(image, "filename")).substr(0, kMaxFile);
  return disk;
}

}  // namespace

Result<std::vector<Disk>> list_disks(Qmp& qmp, const RemoteProcess& process) {
  std::vector<Disk> disks;
  const Json blocks = TRY(query_array(qmp, "query-block"));
  if (blocks.empty()) return disks;
  const auto tree = parse_device_tree(TRY(qmp.human("info qtree")));
  for (const Json& block : blocks) {
    const TreeDevice* device = find_device(tree, block);
    if ((device == nullptr && text_at(block, "qdev").empty()) || disks.size() == kMaxDisks) continue;
    Disk disk = describe(block, device, id_of(tree, device));
    if (disk.inserted) {
      if (const auto file = open_image(qmp, process, disk.file)) identify_image(file->get(), disk);
    }
    disks.push_back(std::move(disk));
  }
  return disks;
}

void sample_disks(Qmp& qmp, const RemoteProcess& process, std::vector<Disk>& disks) {
  if (disks.empty()) return;
  const auto parts = std::clamp(kMostSamples / disks.size(), kFewestParts, kMostParts);
  for (Disk& disk : disks) {
    if (!disk.inserted || disk.firmware) continue;
    if (const auto file = open_image(qmp, process, disk.file)) (void)take_samples(file->get(), parts, disk);
  }
}

SampleMatch match_disk(Qmp& qmp, const RemoteProcess& process, const Disk& source, const Disk& sink) {
  if (source.samples.empty() || !sink.inserted) return {};
  const auto file = open_image(qmp, process, sink.file);
  return file ? match_samples(file->get(), source) : SampleMatch{};
}

}  // namespace godwit::qemu
