// The control groups that limit the CPU time of this process, from its own up to the root.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "host/host_profile.h"

namespace godwit {

struct CpuGroup {
  double quota = 0;  ///< CPUs
  Duration used{};   ///< by all of the group so far
};
/// Those that have a limit; version 2 (cpu.max) and 1 (cpu.cfs_quota_us). What cannot be read has none.
std::vector<CpuGroup> limiting_cpu_groups(const HostPaths& paths = {});

}  // namespace godwit
