#include "vmm/qemu/obstacles.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "vmm/qemu/block_activity.h"
#include "vmm/qemu/info_network.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/migration_end.h"
#include "vmm/qemu/run_state.h"

namespace godwit::qemu {
namespace {

using Obstacles = std::vector<Obstacle>;

constexpr const char* kOtherProcess = "another process writes guest memory past QEMU's page tables";
constexpr const char* kHardware = "its DMA writes guest memory past every page table";

struct Kind {
  std::string_view prefix;
  const char* why;
};

// Devices (QOM types) by how their names begin.
constexpr std::array kDevices = {
    Kind{"vfio-", kHardware},
    Kind{"vhost-vdpa", kHardware},
    Kind{"vdpa", kHardware},
    Kind{"vhost-user-", kOtherProcess},
    Kind{"vhost-scsi", "the kernel writes what its disks read into guest memory past every page table"},
    Kind{"ivshmem", "the memory that it shares with other VMs stays behind"},
    Kind{"x-remote", kOtherProcess},
    Kind{"virtio-pmem", "its memory is not moved with RAM"},
    Kind{"nvdimm", "its memory is not moved with RAM"},
};

// Objects (-object) likewise.
constexpr std::array kObjects = {
    Kind{"cryptodev-vhost-user", kOtherProcess},
    Kind{"vhost-user-backend", kOtherProcess},
    Kind{"x-remote-object", kOtherProcess},
    Kind{"x-vfio-user-server", kOtherProcess},
    Kind{"memory-backend-epc", "enclave memory cannot be read"},
};

// Block drivers that hand guest memory to a device or another process.
constexpr std::array kBlockDrivers = {
    Kind{"nvme", kHardware},
    Kind{"virtio-blk-vfio-pci", kHardware},
    Kind{"virtio-blk-vhost-vdpa", kHardware},
    Kind{"virtio-blk-vhost-user", kOtherProcess},
};

constexpr std::array kStates = {
    Kind{"postmigrate", "a hand-over that was never ended left it so"},
    Kind{"finish-migrate", "a hand-over is under way"},
    Kind{"internal-error", "its CPUs cannot go on"},
    Kind{"guest-panicked", "its guest cannot go on"},
    Kind{"shutdown", "its guest has ended"},
    Kind{"save-vm", "QEMU is saving it"},
    Kind{"restore-vm", "QEMU is restoring it"},
    Kind{"colo", "QEMU is replicating it"},
};

template <std::size_t Size>
const Kind* find_kind(const std::array<Kind, Size>& kinds, std::string_view name) {
  for (const auto& kind : kinds) {
    if (name.starts_with(kind.prefix)) return &kind;
  }
  return nullptr;
}

/// Children of a QOM container whose type is of one of the kinds.
template <std::size_t Size>
Status look_in(Qmp& qmp, std::string_view container, std::string_view what, const std::array<Kind, Size>& kinds,
               Obstacles& out) {
  const Json children = TRY(qmp.execute("qom-list", Json{{"path", container}}));
  if (!children.is_array()) return fail(ErrorKind::kProtocol, fmt::format("{} is not a list", container));
  for (const Json& child : children) {
    const std::string type = text_at(child, "type");
    constexpr std::string_view kChild = "child<";
    if (!type.starts_with(kChild)) continue;
    const std::string name = type.substr(kChild.size(), type.size() - kChild.size() - 1);
    const auto* kind = find_kind(kinds, name);
    if (kind != nullptr) out.push_back({fmt::format("{} {} '{}'", name, what, text_at(child, "name")), kind->why});
  }
  return {};
}

Status look_at_network(Qmp& qmp, Obstacles& out) {
  for (const auto& line : parse_network_lines(TRY(qmp.human("info network")))) {
    if (line.type != "vhost-user" && line.type != "vhost-vdpa") continue;
    out.push_back(
        {fmt::format("{} network '{}'", line.type, line.name), line.type == "vhost-user" ? kOtherProcess : kHardware});
  }
  return {};
}

Status look_at_disks(Qmp& qmp, Obstacles& out) {
  const Json nodes = TRY(query_array(qmp, "query-named-block-nodes"));
  for (const Json& node : nodes) {
    const std::string driver = text_at(node, "drv");
    const auto* kind = find_kind(kBlockDrivers, driver);
    if (kind == nullptr) continue;
    out.push_back({fmt::format("block driver {} of '{}'", driver, text_at(node, "node-name")), kind->why});
  }
  return {};
}

Status look_at_memory(Qmp& qmp, const Ram& ram, Obstacles& out) {
  const Json devices = TRY(query_array(qmp, "query-memory-devices"));
  for (const Json& device : devices) {
    out.push_back({fmt::format("memory device {} '{}'", text_at(device, "type"), text_at(member(device, "data"), "id")),
                   "plugged memory is not moved"});
  }
  for (const auto& backend : ram.unplaced) {
    out.push_back({fmt::format("memory backend '{}'", backend), "a device uses it and it is not main memory"});
  }
  const std::string guard = TRY(qom_text(qmp, "/machine", "confidential-guest-support"));
  const auto sev = qmp.execute("query-sev");
  if (!guard.empty() || (sev && bool_at(*sev, "enabled"))) {
    out.push_back({fmt::format("memory encryption '{}'", guard), "encrypted memory cannot be read from outside"});
  }
  return {};
}

/// Gives the state.
Result<std::string> look_at_state(Qmp& qmp, Obstacles& out) {
  std::string status = text_at(TRY(qmp.execute("query-status")), "status");
  if (const auto* kind = find_kind(kStates, status)) {
    out.push_back({fmt::format("the VM's state '{}'", status), kind->why});
  }
  return status;
}

Status look_at_migration(Qmp& qmp, bool may_be_under_way, Obstacles& out) {
  const Json migration = TRY(qmp.execute("query-migrate"));
  const std::string progress = text_at(migration, "status");
  if (is_under_way(progress) && !may_be_under_way) {
    out.push_back({fmt::format("a migration that is under way ('{}')", progress), "QEMU does one at a time"});
  }
  const Json& reasons = member(migration, "blocked-reasons");
  if (!reasons.is_array()) return {};
  for (const Json& reason : reasons) {
    if (reason.is_string()) out.push_back({"QEMU will not migrate it", reason.get<std::string>()});
  }
  return {};
}

/// What an operator may change while the VM is there.
Status look_at_parts(Qmp& qmp, const Ram& ram, Obstacles& out) {
  TRY(look_in(qmp, "/machine/peripheral", "device", kDevices, out));
  TRY(look_in(qmp, "/machine/peripheral-anon", "device", kDevices, out));
  TRY(look_in(qmp, "/objects", "object", kObjects, out));
  TRY(look_at_network(qmp, out));
  TRY(look_at_disks(qmp, out));
  TRY(look_at_memory(qmp, ram, out));
  const auto activity = TRY(find_block_activity(qmp));
  out.insert(out.end(), activity.begin(), activity.end());
  return {};
}

Status look_at_processes(const RemoteProcess& process, const Ram& ram, Obstacles& out) {
  for (const auto& block : ram.blocks) {
    if (block.backing == Backing::kPrivate) continue;
    const auto others = TRY(process.others_mapping(block.mapping));
    for (const auto& other : others) {
      out.push_back({fmt::format("{} maps RAM block '{}'", other, block.name), kOtherProcess});
    }
  }
  return {};
}

}  // namespace

Result<std::vector<Obstacle>> ask_for_obstacles(Qmp& qmp, const Ram& ram) {
  Obstacles out;
  const auto status = TRY(look_at_state(qmp, out));
  TRY(look_at_migration(qmp, status == "inmigrate", out));
  TRY(look_at_parts(qmp, ram, out));
  if (is_paused(status)) {
    const auto inactive = TRY(find_inactive_disks(qmp));
    out.insert(out.end(), inactive.begin(), inactive.end());
  }
  return out;
}

Result<std::vector<Obstacle>> find_obstacles(Qmp& qmp, const RemoteProcess& process, const Ram& ram) {
  Obstacles out = TRY(ask_for_obstacles(qmp, ram));
  TRY(look_at_processes(process, ram, out));
  return out;
}

Result<std::vector<Obstacle>> find_new_obstacles(Qmp& qmp, const RemoteProcess& process, const Ram& ram,
                                                 bool migrates) {
  Obstacles out;
  TRY(look_at_processes(process, ram, out));  // the slowest, and nothing that QEMU waits for: so it comes first
  TRY(look_at_migration(qmp, migrates, out));
  TRY(look_at_parts(qmp, ram, out));
  return out;
}

}  // namespace godwit::qemu
