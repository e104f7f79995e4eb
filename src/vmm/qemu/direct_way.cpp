#include "vmm/qemu/direct_way.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

using WhyNot = std::optional<std::string>;

Result<bool> knows_command(Qmp& qmp, std::string_view name) {
  const Json commands = TRY(query_array(qmp, "query-commands"));
  return std::ranges::any_of(commands, [&](const Json& command) { return text_at(command, "name") == name; });
}

/// Such a NIC takes its partner out of the guest when a migration begins, which only a migration tells it.
Result<WhyNot> find_failover(Qmp& qmp) {
  for (const std::string container : {"/machine/peripheral", "/machine/peripheral-anon"}) {
    const Json children = TRY(qmp.execute("qom-list", Json{{"path", container}}));
    if (!children.is_array()) return fail(ErrorKind::kProtocol, fmt::format("{} is not a list", container));
    for (const Json& child : children) {
      if (!text_at(child, "type").starts_with("child<virtio-net")) continue;
      const std::string path = fmt::format("{}/{}", container, text_at(child, "name"));
      const Json on = TRY(if_known(qmp.execute("qom-get", Json{{"path", path}, {"property", "failover"}})));
      if (on.is_boolean() && on.get<bool>()) {
        return WhyNot(fmt::format("network card '{}' takes part in a failover pair", text_at(child, "name")));
      }
    }
  }
  return WhyNot{};
}

/// The operator wants them moved, and they do not come with the devices.
Result<WhyNot> find_moving_bitmaps(Qmp& qmp) {
  const Json capabilities = TRY(query_array(qmp, "query-migrate-capabilities"));
  for (const Json& capability : capabilities) {
    if (text_at(capability, "capability") == "dirty-bitmaps" && bool_at(capability, "state")) {
      return WhyNot("dirty bitmaps are to be migrated (capability dirty-bitmaps)");
    }
  }
  return WhyNot{};
}

}  // namespace

Result<WhyNot> why_not_directly(Qmp& qmp, const Inspection& inspection) {
  if (inspection.other.missing) return inspection.other.missing;
  const bool known = TRY(knows_command(qmp, "xen-save-devices-state"));
  if (!known) return WhyNot("this QEMU has no xen-save-devices-state");
  if (auto reason = TRY(find_failover(qmp))) return reason;
  return find_moving_bitmaps(qmp);
}

}  // namespace godwit::qemu
