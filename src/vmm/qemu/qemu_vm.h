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
  std::vector<BlockInfo> blocks = {};  ///< at the sink: those of `memory`, in its order
};

/// Connects, finds the process, inspects; opens no memory yet.
Result<QemuVm> attach(const std::string& qmp_path, pid_t pid_override, const Clock& clock);

struct DeviceChoice {
  DeviceWay way = DeviceWay::kStream;
  std::string why_stream;  ///< as a phrase
  bool must = false;       ///< rather no move than the other way
};

/// A running VM. `vm` and `record` outlive it; `vm` has its memory: main memory, and behind it the other blocks if
/// devices may go directly.
std::unique_ptr<SourceVm> make_source_vm(QemuVm& vm, const DeviceChoice& choice, VmRecord& record, const Clock& clock);

/// A QEMU that was started with -S -incoming defer. `vm` (with memory in the source's block order) and `record`
/// outlive it.
/// `on_start` is told of the try that let the guest run, from resume().
std::unique_ptr<SinkVm> make_sink_vm(QemuVm& vm, DeviceChoice choice, VmRecord& record, const Clock& clock,
                                     std::function<void(const GuestStart&)> on_start = {});

}  // namespace godwit::qemu
