#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu {

Result<QemuVm> attach(const std::string& qmp_path, pid_t pid_override, const Clock& clock) {
  QemuVm vm;
  vm.qmp = TRY(connect_qmp(qmp_path, clock));
  vm.process = std::make_unique<RemoteProcess>(TRY(find_process(*vm.qmp, pid_override)));
  vm.inspection = TRY(inspect(*vm.qmp, *vm.process));
  return vm;
}

}  // namespace godwit::qemu
