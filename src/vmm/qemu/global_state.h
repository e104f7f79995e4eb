// Finds the run state that QEMU hands over in its stream (the section "globalstate"): the only place which tells
// whether the guest ran, or had been paused, shut down or crashed, when QEMU itself stopped it.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace godwit::qemu {

/// Fed with what comes after RAM's END section. Before "globalstate" come only sections that no guest can fill with
/// text of its own.
class GlobalState {
 public:
  void feed(Bytes bytes);
  /// "running", "paused", ...; nothing until it has been found.
  const std::optional<std::string>& run_state() const noexcept { return run_state_; }

 private:
  std::string waiting_;  ///< what was fed and may still hold the section's beginning
  std::optional<std::string> run_state_;
};

}  // namespace godwit::qemu
