// QEMU's migration capabilities and parameters: set for a hand-over, and put back as they were.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

class MigrationSettings {
 public:
  /// Turns the capabilities named on and every other one off, and sets the parameters; remembers what stood before.
  /// kUnsupported if QEMU lacks one of them.
  static Result<std::unique_ptr<MigrationSettings>> apply(Qmp& qmp, const std::set<std::string>& capabilities,
                                                          const Json& parameters);
  virtual ~MigrationSettings() = default;
  /// Puts everything back. QEMU refuses while a migration is under way.
  virtual Status restore() = 0;
};

}  // namespace godwit::qemu
