// Slows a guest down from outside: its vCPU threads get a share of a CPU each, and everything is put back afterwards.
//
//   Throttle::probe()   what is possible on this host for this QEMU, best first, and why the rest is not
//   Throttle::make()    nothing is changed yet; by following_throttle.h where vCPUs may be added
//   set(0.4), set(0.2)  the first one writes what to undo to disk, tells the keeper, then changes things
//   release()           as before; so does the destructor, the keeper if this process dies, and undo_left_throttles()
//                       where both have died
//
// Only vCPU threads are slowed, never QEMU's other threads. A vCPU may be put aside while it holds QEMU's lock: the
// monitor then answers up to one period (20 ms; 100 ms below a share of 0.05) later, and so does a guest that is to be
// paused: set(1) as soon as it has been asked for that, release() when it is.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/host_profile.h"

namespace godwit {

class ThrottleKeeper;

enum class ThrottleWay {
  kCgroupV2,  ///< quotas, `cpu.max`
  kCgroupV1,  ///< quotas, `cpu.cfs_quota_us`
  kPtrace,    ///< stop and go: each thread is stopped for a part of each period
};
/// "cgroup-v2", "cgroup-v1", "ptrace".
std::string_view name_of(ThrottleWay way) noexcept;

struct ThrottleFinding {
  ThrottleWay way = ThrottleWay::kPtrace;
  std::string why_not;  ///< empty: possible
};

struct ThrottleSettings {
  std::string state_folder;          ///< where what to undo is written; made with mode 0700 if it is not there
  ThrottleKeeper* keeper = nullptr;  ///< undoes at once if this process dies; without: the next godwit command does
  std::optional<ThrottleWay> only;   ///< instead of the best
  HostPaths paths;
};

class Throttle {
 public:
  /// The smallest share that is kept; less counts as this.
  static constexpr double kLeastShare = 0.01;

  /// All ways, best first. Changes nothing. `vcpu_threads` by this process's numbers, at least one.
  static std::vector<ThrottleFinding> probe(pid_t qemu, std::span<const pid_t> vcpu_threads,
                                            const HostPaths& paths = {});
  /// By the best way that is possible. kUnsupported, with the reasons, if none is; kNotFound if QEMU has ended.
  static Result<std::unique_ptr<Throttle>> make(pid_t qemu, std::span<const pid_t> vcpu_threads,
                                                ThrottleSettings settings);

  virtual ~Throttle() = default;  ///< releases
  Throttle(const Throttle&) = delete;
  Throttle& operator=(const Throttle&) = delete;

  virtual ThrottleWay way() const noexcept = 0;
  std::string_view name() const noexcept { return name_of(way()); }

  /// The share of one CPU that each vCPU thread may use, (0, 1]; of what its group's own limit leaves it where that is
  /// less. 1: no limit any more. The first call below 1 takes milliseconds, others microseconds a thread. After an
  /// error what was set before may hold for some threads: release. kNotFound if QEMU has ended. From one thread at a
  /// time, as all here.
  virtual Status set(double share) = 0;
  /// The vCPU threads of now, after one was added or removed: new ones get the share that holds.
  virtual Status follow(std::span<const pid_t> vcpu_threads) = 0;
  /// Everything as before; nothing to do if nothing was set. An error says what could not be put back; what to undo
  /// then stays on record. set() begins again.
  virtual Status release() noexcept = 0;

 protected:
  Throttle() = default;
};

/// Undoes what processes that have died left throttled, as recorded in `state_folder`, whatever VM's. What happened, in
/// sentences for people; what failed stays on record for the next call.
std::vector<std::string> undo_left_throttles(const std::string& state_folder);

}  // namespace godwit
