// Which vCPUs write most. Pages whose writes are tracked are armed, and the first write to one is a page fault of the
// thread that makes it: KERNEL counts them for each thread (`minflt`), those that KVM takes on a vCPU's behalf too.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace godwit {

class WriterWatch {
 public:
  /// Counts begin now. `proc`: the folder of that file system.
  WriterWatch(pid_t qemu, std::string proc);

  /// Of these threads, those that have had at least a quarter of the mean of faults since they were counted last. All
  /// of them where there were too few faults to tell.
  std::vector<pid_t> writers(std::span<const pid_t> vcpu_threads);

 private:
  std::uint64_t count(pid_t thread) const;
  const pid_t qemu_;
  const std::string proc_;
  std::map<pid_t, std::uint64_t> counted_;
};

}  // namespace godwit
