// What moves: one kind of what a VM consists of, copied while the guest runs. RAM is one; disks will be another.
//
//   start -> step, step, ... until all have converged and are ready -> stop_is_near -> stop_is_ordered -> [the guest is
//   paused] -> freeze
//   then [the guest runs there] -> finish, or at any time cancel -> [the guest goes on here] -> finish
#pragma once

#include "base/result.h"
#include "engine/ledger.h"

namespace godwit {

/// Coordinator's thread only. A failure ends the migration, and cancel() follows.
class Load {
 public:
  virtual ~Load() = default;
  /// Begins to track what the guest writes and to copy.
  virtual Status start() = 0;
  /// While the guest runs, every few milliseconds: sees to the copying. Returns soon.
  virtual Status step() = 0;
  /// How long it will take at least, as of the last step(), until converged() may hold; the longest there is while that
  /// is not known. Cheap.
  virtual Duration time_left() const { return {}; }
  /// As of the last step(): what is left fits into the pause. Cheap.
  virtual bool converged() const = 0;
  /// All loads have converged, and the guest is to be stopped next: a last look, which may find that this has to wait.
  virtual Result<bool> ready() = 0;
  /// From here on step() does nothing that the guest's stop would have to wait for.
  virtual Status stop_is_near() = 0;
  /// The hypervisor has been asked to stop the guest. Returns within milliseconds.
  virtual void stop_is_ordered() {}
  /// The guest is paused: what is left goes. On return it is in place at the sink.
  virtual Status freeze(Ledger& ledger) = 0;
  /// The guest stays here: ends the copying, whatever it waits for. Safe at any time, also before start().
  virtual void cancel() noexcept = 0;
  /// The guest runs, there or here: lets go of what was taken for the copying, which may take a while.
  virtual void finish() noexcept = 0;
};

}  // namespace godwit
