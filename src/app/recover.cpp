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

std::string committed_text(bool runs, const std::string& journal) {
  if (!runs) {
    return "this VM has been moved: the move was committed, so its guest never runs here again (it may be running at "
           "the "
           "destination). Look there; then end this QEMU.";
  }
  return fmt::format(
      "the move of this VM was committed, and yet its guest runs here: somebody let it run on. If it runs at the "
      "destination "
      "too, end one of them at once. If it does not, this is the only one: keep it, and remove {} to move it again.",
      journal);
}

}  // namespace

Result<LeftBehind> recover_if_left_behind(qemu::QemuVm& vm, const std::string& state_folder,
                                          const std::function<void(std::string_view)>& on_note) {
  const VmProcess process{vm.process->pid(), vm.process->start_time()};
  if (TRY(Journal::peek(state_folder, process)) == Journal::State::kNone) return LeftBehind::kNothing;
  auto journal = TRY(Journal::open(state_folder, process));
  if (journal.found() == Journal::State::kCommitted) {
    on_note(committed_text(vm.inspection.status == "running", journal.path()));
    return LeftBehind::kCommitted;
  }
  // An engine that had not come to stop the guest leaves nothing to undo: if it stands, it was somebody else.
  const bool revived = journal.found() == Journal::State::kStopping && TRY(let_run_on(vm));
  journal.clear();
  if (revived) {
    on_note(
        "a godwit died while it moved this VM and left its guest paused. The move had not been committed, so the "
        "destination cannot have started it: the guest has been let run on here.");
    return LeftBehind::kRevived;
  }
  on_note("a godwit died while it moved this VM. It had not stopped the guest; nothing was lost.");
  return LeftBehind::kHarmless;
}

}  // namespace godwit
