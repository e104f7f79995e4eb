// The driver of a running QEMU, found by its monitor: from the attaching to what run_source() needs.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "service/send_job.h"
#include "throttle/throttle_keeper.h"
#include "tracking/releaser.h"
#include "vm/device_way.h"

namespace godwit {

struct QemuSourceOptions {
  std::string qmp;  ///< path of QEMU's monitor socket
  pid_t pid = 0;    ///< of QEMU; 0: the process behind the monitor
  bool skip_free_pages = true;
  /// How the devices go; none: directly if they can.
  std::optional<DeviceWay> devices;
  bool allow_nested = false;         ///< the operator says that no VM runs inside the guest until the move is over
  Releaser* releaser = nullptr;      ///< outlives the job; may be null
  ThrottleKeeper* keeper = nullptr;  ///< likewise
};

OpenSource open_qemu_source(QemuSourceOptions options, const HostProfile& host);

}  // namespace godwit
