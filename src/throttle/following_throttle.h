// A throttle of a guest to which vCPUs may be added while it is slowed down.
//
//   set(share) --> the list of QEMU's threads (/proc) is as before? --no--> which are vCPUs? --> Throttle::follow()
//                                                     '--yes: nobody is asked
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "throttle/throttle.h"

namespace godwit {

class FollowingThrottle {
 public:
  /// `vcpu_threads` gives those of now; none where that cannot be told. Nothing is changed yet, and nothing looked for.
  FollowingThrottle(pid_t qemu, std::function<std::vector<pid_t>()> vcpu_threads, ThrottleSettings settings)
      : qemu_(qemu), vcpu_threads_(std::move(vcpu_threads)), settings_(std::move(settings)) {}

  /// As Throttle::set(), and 1 releases. The same share again costs a look at the list of threads, and has vCPUs that
  /// were added since be as slow as the others.
  Status set(double share);

 private:
  std::vector<std::string> all_threads() const;
  Status follow();

  const pid_t qemu_;
  const std::function<std::vector<pid_t>()> vcpu_threads_;
  const ThrottleSettings settings_;
  std::vector<std::string> known_;      ///< QEMU's threads, when its vCPUs were last asked for
  std::unique_ptr<Throttle> throttle_;  ///< from when the guest is slowed down for the first time
};

}  // namespace godwit
