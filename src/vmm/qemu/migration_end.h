// The states of QEMU's migration (query-migrate, event MIGRATION), sorted by what they mean to us; and how QEMU is
// brought to rest after one, and its guest to run again.
#pragma once

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Nothing moves any more, and nothing will unless asked. "" and "none": there never was a migration.
inline bool has_ended(std::string_view status) noexcept {
  return status.empty() || status == "none" || status == "completed" || status == "failed" || status == "cancelled";
}

/// setup, active, pre-switchover, device, cancelling, post-copy's, and any that a later QEMU adds.
inline bool is_under_way(std::string_view status) noexcept {
  return !has_ended(status);
}

/// Ends a migration that is under way (migrate_cancel) and waits until QEMU agrees that none is. Gives the state in
/// which it came to rest: "none", "completed", "failed", "cancelled".
Result<std::string> await_migration_end(Qmp& qmp, Duration timeout);

/// Makes the guest run and returns once it does; at once if it runs. kHypervisor with QEMU's reason if it cannot run.
Status let_run(Qmp& qmp, Duration timeout);

}  // namespace godwit::qemu
