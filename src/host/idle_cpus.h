// How much of its CPUs this process might still use: what the host leaves idle, and what its control groups allow.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "host/cpu_group.h"

namespace godwit {

/// The CPUs that this process may run on, less those to which `threads` (a guest's vCPUs) are pinned: those are the
/// guest's, idle or not. All that this process may run on, if nothing else is left.
cpu_set_t cpus_beside(std::span<const pid_t> threads) noexcept;

/// Owned by one thread.
class IdleCpus {
 public:
  explicit IdleCpus(const cpu_set_t& cpus, HostPaths paths = {});
  /// CPUs' worth of time since the last look that nobody used and that this process might have had: 0 to the number of
  /// CPUs. 0 at the first look, and where nobody tells.
  double look(Instant now);

 private:
  struct Ticks {
    std::uint64_t idle = 0;
    std::uint64_t all = 0;
  };
  std::vector<Ticks> ticks() const;

  cpu_set_t cpus_;
  HostPaths paths_;
  std::vector<Ticks> ticks_;      ///< at the last look, one for each CPU
  std::vector<CpuGroup> groups_;  ///< at the last look
  Instant looked_{};
};

}  // namespace godwit
