// Looks again at a VM before it is handed over: is it still what was found in the beginning? An operator does not know
// what a migration relies on, and may take a snapshot, plug a disk or begin a backup while memory is copied.
#pragma once

#include <string_view>

#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu {

/// At everything, while the guest runs: some milliseconds of QEMU's main loop. kRefused names what has changed. Gives
/// what it found. `migrates`: QEMU has been told to migrate already, for this move.
Result<Configuration> look_again(QemuVm& vm, bool migrates);

/// At disks, devices, jobs and exports: about a millisecond. The guest may be paused.
Status look_again_quickly(QemuVm& vm);

/// The same at a QEMU that waits for a VM, or has just loaded one: what was compared with the source is still there.
Status look_again_at_sink(QemuVm& vm);

/// The error that says so.
Error changed_meanwhile(const std::vector<std::string>& changes,
                        std::string_view what = "this VM has been changed since the move began");

/// ROMs, video memory and firmware tables lie where they lay: kRefused if not. For a VM all of whose blocks are moved,
/// not in the pause: an old QEMU's heap is read for it.
Status check_other_blocks(QemuVm& vm);

}  // namespace godwit::qemu
