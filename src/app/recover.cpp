#include "app/recover.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "vmm/qemu/revive.h"

namespace godwit {

namespace {

Result<bool> let_run_on(qemu::QemuVm& vm) {
  bool revived = TRY(qemu::revive(*vm.qmp));
  vm.inspection = TRY(qemu::inspect(*vm.qmp, *vm.process));
  if (vm.inspection.status == "paused") {
    // An engine also stops the guest for a moment around a harvest, where a disk asks for it.
    TRY(vm.qmp->execute("cont"));
    vm.inspection = TRY(qemu::inspect(*vm.qmp, *vm.process));
    revived = true;
  }
  if (vm.inspection.status != "running") {
    return fail(
        ErrorKind::kHypervisor,
        fmt::format("a godwit died while it moved this VM, and its guest cannot be let run on: QEMU says it is '{}'",
                    vm.inspection.status));
  }
  return revived;
}

}  // namespace

Result<LeftBehind> recover_if_left_behind(qemu::QemuVm& vm, const std::string& state_folder,
                                          const std::function<void(std::string_view)>& on_note) {
  const VmProcess process{vm.process->pid(), vm.process->start_time()};
  const auto state = TRY(Journal::peek(state_folder, process));
  if (state == Journal::State::kNone) return LeftBehind::kNothing;
  if (state == Journal::State::kCommitted) {
    on_note(
        "this VM has been moved: the move was committed, so its guest never runs here again (it may be running at the "
        "destination). Look there; then end this QEMU.");
    return LeftBehind::kCommitted;
  }
  auto journal = TRY(Journal::open(state_folder, process));
  const bool revived = TRY(let_run_on(vm));
  journal.clear();
  if (revived) {
    on_note(
        "a godwit died while it moved this VM and left its guest paused. The move had not been committed, so the "
        "destination cannot have started it: the guest has been let run on here.");
    return LeftBehind::kRevived;
  }
  on_note("a godwit died while it moved this VM. The guest runs on here; nothing was lost.");
  return LeftBehind::kHarmless;
}

}  // namespace godwit
