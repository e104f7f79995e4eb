#include "vmm/qemu/configuration.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "vmm/qemu/info_network.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/ram_blocks.h"

namespace godwit::qemu {
namespace {

// Far more images than any chain has; bounds what a strange answer can make us do.
constexpr std::size_t kLongestChain = 1024;

/// What people call a device, of its id or QOM path: "vb" for "/machine/peripheral/vb/virtio-backend".
std::string short_name(std::string_view path) {
  constexpr std::string_view kNamed = "/machine/peripheral/";
  constexpr std::string_view kBackend = "/virtio-backend";
  constexpr std::string_view kMachine = "/machine/";
  if (path.ends_with(kBackend)) path.remove_suffix(kBackend.size());
  if (path.starts_with(kNamed)) return std::string(path.substr(kNamed.size()));
  if (path.starts_with(kMachine)) path.remove_prefix(kMachine.size());
  return std::string(path);
}

Drive describe(const Json& drive) {
  Drive disk;
  disk.removable = bool_at(drive, "removable");
  const Json& inserted = member(drive, "inserted");
  if (inserted.is_null()) return disk;
  disk.node = text_at(inserted, "node-name");
  disk.read_only = bool_at(inserted, "ro");
  disk.direct = bool_at(member(inserted, "cache"), "direct");
  const Json* image = &member(inserted, "image");
  disk.size = number_at(*image, "virtual-size");
  while (image->is_object() && disk.images.size() < kLongestChain) {
    disk.images.push_back(text_at(*image, "filename"));
    image = &member(*image, "backing-image");
  }
  return disk;
}

Result<std::map<std::string, Drive>> read_disks(Qmp& qmp) {
  const Json drives = TRY(query_array(qmp, "query-block"));
  std::map<std::string, Drive> disks;
  for (const Json& drive : drives) {
    std::string name = text_at(drive, "device");
    if (name.empty()) name = short_name(text_at(drive, "qdev"));
    disks.emplace(std::move(name), describe(drive));
  }
  return disks;
}

/// The devices in a QOM container. What devices are made of (memory regions, interrupt lines) comes and goes as the
/// guest sets them up.
Status read_devices(Qmp& qmp, std::string_view container, Parts& out) {
  const Json children = TRY(qmp.execute("qom-list", Json{{"path", container}}));
  if (!children.is_array()) return fail(ErrorKind::kProtocol, fmt::format("{} is not a list", container));
  for (const Json& child : children) {
    constexpr std::string_view kChild = "child<";
    const std::string type = text_at(child, "type");
    if (!type.starts_with(kChild) || type == "child<memory-region>" || type == "child<irq>") continue;
    out.emplace(short_name(fmt::format("{}/{}", container, text_at(child, "name"))),
                type.substr(kChild.size(), type.size() - kChild.size() - 1));
  }
  return {};
}

Result<Parts> read_nodes(Qmp& qmp) {
  const Json nodes = TRY(qmp.execute("query-named-block-nodes", Json{{"flat", true}}));
  if (!nodes.is_array()) return fail(ErrorKind::kProtocol, "query-named-block-nodes: QEMU's answer is not a list");
  Parts parts;
  for (const Json& node : nodes) {
    parts.emplace(text_at(node, "node-name"), fmt::format("{} {}", text_at(node, "drv"), text_at(node, "file")));
  }
  return parts;
}

Result<Parts> read_cpus(Qmp& qmp) {
  const Json cpus = TRY(query_array(qmp, "query-cpus-fast"));
  Parts parts;
  for (const Json& cpu : cpus) {
    parts.emplace(std::to_string(number_at(cpu, "cpu-index")), text_at(cpu, "qom-path"));
  }
  return parts;
}

}  // namespace

Result<Plugged> read_plugged(Qmp& qmp) {
  Plugged found;
  found.disks = TRY(read_disks(qmp));
  TRY(read_devices(qmp, "/machine/peripheral", found.devices));
  TRY(read_devices(qmp, "/machine/peripheral-anon", found.devices));
  return found;
}

Result<Configuration> read_configuration(Qmp& qmp) {
  Configuration found;
  found.plugged = TRY(read_plugged(qmp));
  TRY(read_devices(qmp, "/machine/unattached", found.built_in));
  found.nodes = TRY(read_nodes(qmp));
  for (auto& line : parse_network_lines(TRY(qmp.human("info network")))) {
    found.networks.emplace(std::move(line.name), std::move(line.type));
  }
  found.cpus = TRY(read_cpus(qmp));
  for (auto& line : parse_ram_blocks(TRY(qmp.human("info ramblock")))) {
    found.ram_limits.emplace(line.name, line.most);
    found.ram_blocks.emplace(std::move(line.name), line.size);
  }
  return found;
}

}  // namespace godwit::qemu
