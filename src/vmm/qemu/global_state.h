// Finds the run state that QEMU hands over in its stream (the section "globalstate"): the only place which tells
// whether the guest ran, or had been paused, shut down or crashed, when QEMU itself stopped it.
//
//   RAM's END section | devices ... | globalstate | devices plugged in later ... | end
//
// Only QEMU knows how long a device's section is, so it is looked for by its name, number and footer. Some devices'
// sections hold what the guest has put there (a virtio-gpu's pictures, megabytes of them): a guest could write another
// globalstate, but it cannot take QEMU's own away. So all of them are looked at, and must agree.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace godwit::qemu {

/// Fed with what comes behind RAM's END section.
class GlobalState {
 public:
  void feed(Bytes bytes);
  /// "running", "paused", ...; nothing until it has been found, and nothing if there are different ones.
  const std::optional<std::string>& run_state() const noexcept { return run_state_; }
  bool contradicts_itself() const noexcept { return contradicts_itself_; }

 private:
  void look(std::string_view section);
  std::string waiting_;  ///< the end of what was fed, which may hold the section's beginning
  std::optional<std::string> run_state_;
  bool contradicts_itself_ = false;
};

}  // namespace godwit::qemu
