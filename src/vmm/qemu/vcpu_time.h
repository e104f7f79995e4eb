// How long a VM's vCPUs have run so far: what tells a guest that has been paused since from one that has run in
// between.
#pragma once

#include <vector>

#include "attach/remote_process.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// The threads of the vCPUs, by QEMU's word.
Result<std::vector<pid_t>> vcpu_threads(Qmp& qmp);

/// The same by this process's numbers; none, where QEMU does not tell or counts its threads otherwise (namespaces).
std::vector<pid_t> vcpu_threads_here(Qmp& qmp, const RemoteProcess& process);

/// Their time on a CPU in nanoseconds, all together: 10 us a thread, and QEMU is not asked. kUnsupported where this
/// kernel or QEMU's namespaces do not tell.
Result<std::uint64_t> vcpu_run_time(const RemoteProcess& process, const std::vector<pid_t>& threads);

}  // namespace godwit::qemu
