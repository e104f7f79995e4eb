// What an engine that died left at a VM: found by its journal, and undone where that is safe.
//
// The guest is let run on only if the dead engine has certainly paused it and it was not committed; QEMU's settings
// are put back as they were before that engine changed them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/journal.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit {

enum class LeftBehind {
  kNothing,    ///< no engine died on this VM
  kHarmless,   ///< one did, but the guest runs, or was never here: only settings and its journal were cleaned up
  kRevived,    ///< the guest was paused and has been let run on: the destination cannot have started it
  kCommitted,  ///< the move was committed: the guest must never run here again, and was not touched
  kUnclear,    ///< the guest is paused, not certainly by the engine, or a migration is under way: left alone
};

/// Looks for the journal of an engine that died on this VM, as its source or its destination, and undoes what it left.
/// Before that, releases whatever VMs engines that died have left throttled. Also turns x-ignore-shared off where it is
/// on and no journal says why. `on_note` is told in words. kRefused if an engine that is alive is at work on the VM.
/// Inspects the VM again if it changed it.
Result<LeftBehind> recover_if_left_behind(qemu::QemuVm& vm, const std::string& state_folder,
                                          const std::function<void(std::string_view)>& on_note);

}  // namespace godwit
