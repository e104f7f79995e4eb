// A throttle of the vCPUs that write most, of a guest to which others may be added while it is slowed down.
//
//   set(share) --> the list of QEMU's threads (/proc) is as before? --no--> which are vCPUs? --> Throttle::follow()
//      |                                              '--yes: nobody is asked
//      +-- a smaller share than before: who writes most now? (writer_watch.h) --> they are slowed down as well
//
// Whoever has been slowed down stays so until all are let go: what others write shows only then.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "throttle/throttle.h"
#include "throttle/writer_watch.h"

namespace godwit {

class FollowingThrottle {
 public:
  /// `vcpu_threads` gives those of now; none where that cannot be told. Nothing is changed yet, and nobody asked.
  FollowingThrottle(pid_t qemu, std::function<std::vector<pid_t>()> vcpu_threads, ThrottleSettings settings)
      : qemu_(qemu),
        vcpu_threads_(std::move(vcpu_threads)),
        settings_(std::move(settings)),
        watch_(qemu, settings_.paths.proc) {}

  /// As Throttle::set(), of the vCPUs that write most; and 1 releases. The same share again costs a look at the list of
  /// threads, and has vCPUs that were added since be as slow as the others.
  Status set(double share);
  /// No limit any more, within microseconds a thread. What was made for it stays until set(1).
  Status lift() { return throttle_ ? throttle_->set(1) : Status{}; }

 private:
  std::vector<std::string> all_threads() const;
  Status slow_down(double share);
  void add_new_vcpus();
  void add_writers();

  const pid_t qemu_;
  const std::function<std::vector<pid_t>()> vcpu_threads_;
  const ThrottleSettings settings_;
  WriterWatch watch_;
  std::vector<std::string> known_;  ///< QEMU's threads, when its vCPUs were last asked for
  std::vector<pid_t> vcpus_;        ///< as they were then
  std::vector<pid_t> slowed_;       ///< of them; none: all run free
  double share_ = 1;
  std::unique_ptr<Throttle> throttle_;  ///< from when the guest is slowed down for the first time
};

}  // namespace godwit
