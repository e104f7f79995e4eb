// The driver of a QEMU that was let run before all of its guest's memory had come: `godwit receive --resume`.
#pragma once

#include <sys/types.h>

#include <string>

#include "service/receive_job.h"

namespace godwit {

/// `qmp`: path of QEMU's monitor socket, which need not answer before all is there; `pid` of QEMU, 0 for the process
/// that listens there. kRefused where no journal says that its guest lacks memory.
OpenSink open_lacking_sink(std::string qmp, pid_t pid);

}  // namespace godwit
