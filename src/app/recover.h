// A VM that a dead engine left behind: found by its journal, and let run on where that is safe.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/journal.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit {

enum class LeftBehind {
  kNothing,    ///< no engine died on this VM
  kHarmless,   ///< one did, but the guest runs: only its journal was removed
  kRevived,    ///< the guest stood still and has been let run on: the destination cannot have started it
  kCommitted,  ///< the move was committed: the guest must never run here again, and was not touched
};

/// Looks for the journal of an engine that died on this VM and undoes what it left. `on_note` is told in words.
/// kRefused if an engine that lives is at work on the VM. Inspects the VM again if it changed it.
Result<LeftBehind> recover_if_left_behind(qemu::QemuVm& vm, const std::string& state_folder,
                                          const std::function<void(std::string_view)>& on_note);

}  // namespace godwit
