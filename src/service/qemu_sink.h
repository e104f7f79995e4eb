// The driver of a QEMU that waits for a VM, found by its monitor.
#pragma once

#include <sys/types.h>

#include <string>

#include "service/receive_job.h"

namespace godwit {

/// `qmp`: path of QEMU's monitor socket; `pid` of QEMU, 0 for the process behind the monitor.
OpenSink open_qemu_sink(std::string qmp, pid_t pid);

}  // namespace godwit
