#include "vmm/qemu/revive.h"

#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"
#include "vmm/qemu/settle.h"

namespace godwit::qemu {
namespace {

// QEMU finds out in milliseconds that the other end of its stream is gone, unless its disks are slow to drain.
constexpr Duration kPatience = std::chrono::seconds(30);

bool stands_after_handover(const std::string& status, const std::string& migration) {
  if (status == "postmigrate" || status == "finish-migrate") return true;
  return status == "paused" && !migration.empty() && migration != "none";
}

}  // namespace

Result<bool> revive(Qmp& qmp) {
  const Json state = TRY(qmp.execute("query-status"));
  const std::string status = text_at(state, "status");
  const std::string migration = text_at(TRY(qmp.execute("query-migrate")), "status");
  if (bool_at(state, "running") || !stands_after_handover(status, migration)) return false;
  TRY(settle_migration(qmp, kPatience));
  TRY(let_run(qmp, kPatience));
  return true;
}

}  // namespace godwit::qemu
