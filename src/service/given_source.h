// The driver of a QEMU whose guest was given to another host and lacks memory there: `godwit send --resume`.
#pragma once

#include <sys/types.h>

#include <string>

#include "service/send_job.h"

namespace godwit {

/// `qmp`: path of QEMU's monitor socket; `pid` of QEMU, 0 for the process behind the monitor. kRefused where no journal
/// says that the guest's memory is to follow it.
OpenSource open_given_source(std::string qmp, pid_t pid);

}  // namespace godwit
