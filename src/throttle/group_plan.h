// For each vCPU thread the control group whose limit slows it, and only it.
//
//   the thread is alone in its group (libvirt makes such): that group, in place
//   else: a new group below its present one, that only this thread is put into
//
// One group for each thread, so that what an idle vCPU leaves is not used by a busy one. Never a group that has other
// threads in it: QEMU's main thread and its monitor are not slowed. Below the present group, so that all limits,
// weights and accounts that hold for QEMU go on to hold for the thread.
#pragma once

#include <string>
#include <vector>

#include "throttle/cgroup_places.h"

namespace godwit {

struct ThreadPlan {
  pid_t thread = 0;
  std::string origin;        ///< the group that it is in, and goes back to
  std::string left;          ///< a group of ours below `origin` that a dead engine left it in; mostly empty
  bool in_place = false;     ///< the limit goes to `origin` itself
  CpuQuota before;           ///< of `origin`, in place
  double limit = 1;          ///< CPUs that `origin` and the groups above leave one thread, at most 1
  bool enables_cpu = false;  ///< the cpu controller has to be enabled for groups below `origin`
};

/// Looks, and changes nothing. kUnsupported or kNoPermission with the reason if there is no such group for one of them.
Result<std::vector<ThreadPlan>> plan_groups(const CgroupMount& mount, pid_t qemu, const std::vector<pid_t>& threads,
                                            const HostPaths& paths);

}  // namespace godwit
