// QEMU's migration capabilities and parameters: set for a hand-over, and put back as they were.
//
// They belong to whoever saves, snapshots or moves this VM by other means: x-ignore-shared left on makes such a save
// one without RAM. So what was set before is written down before anything is changed, and put back by whoever comes
// next.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "vmm/qemu/qmp.h"
#include "vmm/vm_record.h"

namespace godwit::qemu {

class MigrationSettings {
 public:
  /// Turns the capabilities named on and every other one off, and sets the parameters. All values of what it touches
  /// are written to `record` first, those too that are the same already: others may change them while this engine
  /// works. kUnsupported if QEMU lacks one of the capabilities. On an error everything is as it was, or still on
  /// record.
  static Result<std::unique_ptr<MigrationSettings>> apply(Qmp& qmp, const std::set<std::string>& capabilities,
                                                          const Json& parameters, VmRecord& record);
  /// Puts everything back, and says so to the record. Waits a few seconds for a migration that is just ending: QEMU
  /// refuses while one is under way. Safe to call again.
  Status restore();

 private:
  MigrationSettings(Qmp& qmp, std::string before, VmRecord& record) noexcept
      : qmp_(qmp), before_(std::move(before)), record_(record) {}

  Qmp& qmp_;
  std::string before_;  ///< as it is on record
  VmRecord& record_;
  bool put_back_ = false;
};

/// Puts back what an engine that died has left on record.
Status restore_settings(Qmp& qmp, std::string_view recorded);

Result<bool> ignores_shared(Qmp& qmp);
/// Turns x-ignore-shared off, for a VM that no engine is at work on: true if it was on.
Result<bool> turn_off_ignore_shared(Qmp& qmp);

}  // namespace godwit::qemu
