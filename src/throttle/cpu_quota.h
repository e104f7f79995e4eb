// The CPU limit of one control group: how much of each period its threads may run.
//
//   version 2: cpu.max "QUOTA PERIOD" or "max PERIOD", cpu.max.burst
//   version 1: cpu.cfs_quota_us (-1: no limit), cpu.cfs_period_us, cpu.cfs_burst_us
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace godwit {

enum class CgroupVersion { kV1 = 1, kV2 = 2 };

struct CpuQuota {
  std::optional<std::int64_t> quota;  ///< microseconds of CPU time per period; none: no limit
  std::int64_t period = 100'000;      ///< microseconds
  std::int64_t burst = 0;             ///< microseconds that may be saved up

  bool operator==(const CpuQuota&) const = default;
  /// CPUs; nothing without a limit.
  std::optional<double> cpus() const;
};

/// kNotFound where the group has gone or its hierarchy does not limit CPU time.
Result<CpuQuota> read_quota(CgroupVersion version, const std::string& folder);
/// In the order that the kernel takes: it refuses states in between that break its rules.
Status write_quota(CgroupVersion version, const std::string& folder, const CpuQuota& quota);

/// The limit that lets a group have `share` of a CPU. Its period is one that nobody else would choose: by it a limit of
/// ours is told from what others have set meanwhile.
CpuQuota quota_for(double share);
bool is_throttled(const CpuQuota& quota);

/// Writes to a file that exists, in one piece.
Status write_control_file(const std::string& path, const std::string& text);

}  // namespace godwit
