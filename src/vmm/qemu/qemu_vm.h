// The two ends of a migration on QEMU.
#pragma once

#include <functional>
#include <memory>

#include "vmm/guest_start.h"
#include "vmm/hypervisor.h"
#include "vmm/qemu/inspection.h"
#include "vmm/qemu/qmp.h"
#include "vmm/vm_record.h"

namespace godwit::qemu {

/// Everything attached: monitor, process, what was found, memory.
struct QemuVm {
  std::unique_ptr<Qmp> qmp;
  std::unique_ptr<RemoteProcess> process;
  Inspection inspection;
  std::unique_ptr<GuestMemory> memory;
};

/// Connects, finds the process, inspects; opens no memory yet.
Result<QemuVm> attach(const std::string& qmp_path, pid_t pid_override, const Clock& clock);

/// A running VM. `vm` (with memory) and `record` outlive it.
std::unique_ptr<SourceVm> make_source_vm(QemuVm& vm, VmRecord& record, const Clock& clock);

/// A QEMU that was started with -S -incoming defer. `vm` (with memory in the source's block order) and `record`
/// outlive it.
/// `on_start` is told of the try that let the guest run, from resume().
std::unique_ptr<SinkVm> make_sink_vm(QemuVm& vm, VmRecord& record, const Clock& clock,
                                     std::function<void(const GuestStart&)> on_start = {});

}  // namespace godwit::qemu
