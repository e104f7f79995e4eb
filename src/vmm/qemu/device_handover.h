// How a guest's device state gets out of QEMU, and the guest is stopped for it: one attempt.
//
// Out of QEMU's migration stream (handover.h), where QEMU stops the guest by itself. Another way is a file that QEMU
// writes at our word once we have stopped the guest.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "vmm/hypervisor.h"

namespace godwit::qemu {

/// What is known of the VM when its hand-over is ordered, right after the last look at it.
struct HandoverOrder {
  std::map<std::string, std::uint64_t> lengths;  ///< of all RAM blocks that the VM has, bytes; empty: not known
  std::map<std::string, std::uint64_t> limits;   ///< the lengths that they may have
  /// Asked once QEMU's events are followed and before it is asked for anything: from then on no change is missed that
  /// an event tells of.
  std::function<Status()> look_again;
  /// How long vCPUs have run so far, nanoseconds, without asking QEMU; empty, or 0: not known.
  std::function<std::uint64_t()> vcpus_ran;
  std::uint64_t downtime_limit_ms = 0;  ///< that QEMU has been given; doubled while it does not stop
  std::uint64_t highest_limit_ms = 0;   ///< but never above this: the pause that the operator allows
};

class DeviceHandover {
 public:
  virtual ~DeviceHandover() = default;
  /// Before order(): has QEMU do what it can while the guest runs on, and not more. On an error nothing is under way.
  virtual Status prepare(const HandoverOrder&) { return {}; }
  /// Has QEMU stop the guest and give its devices' state. Settings have been made. On an error nothing is
  /// under way that was not before.
  virtual Status order(const HandoverOrder& order) = 0;
  /// The guest has been let run again since then.
  virtual bool resumed() const = 0;
  /// kRefused if an event has told of a change of the VM.
  virtual Status told_of_no_change() const = 0;
  /// Before order(): somebody else has paused the guest, which is handed over so.
  virtual void expect_paused() noexcept = 0;
  /// It is handed over paused: expected so, or somebody else was faster in pausing it than this. Any thread.
  virtual bool hands_over_paused() const noexcept = 0;
  /// All has been passed on: what becomes of this QEMU does not matter to it any more.
  virtual bool complete() const noexcept = 0;
  /// In which run state QEMU hands the guest over, if that is known yet. After end().
  virtual const std::optional<std::string>& run_state() const noexcept = 0;
  /// Ends what is under way; no observer is called after it.
  virtual void end() noexcept = 0;
};

}  // namespace godwit::qemu
