// Dirty trackers: what the guest has written since the last harvest.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/clock.h"
#include "base/result.h"
#include "memory/board.h"

namespace godwit {

struct HarvestStats {
  std::uint64_t pages = 0;      ///< found written, whether or not they were posted already
  std::uint64_t in_flight = 0;  ///< posted because a disk request may still write them
  std::uint64_t deferred = 0;   ///< may still be written by disk requests: the next harvest posts them again
  Duration took{};
};

/// Asks about pages, and is told which may be absent, stretch by stretch of chunks that lie in one RAM block. From any
/// thread, several at once, each about other chunks. An error ends the look, which gives it.
class AbsentPages {
 public:
  virtual ~AbsentPages() = default;
  /// Adds the pages asked about to words (by chunk, from `first` on) that are 0.
  virtual Status ask(ChunkIndex first, std::span<PageWord> pages) = 0;
  /// Those of them that may be absent; not called where none is.
  virtual Status found(ChunkIndex first, std::span<PageWord> pages) = 0;
};

/// May report too much, must never report too little: a page written after start() is posted by the next harvest at
/// the latest, once the write is visible to a reader. Called from the coordinator's thread only.
class DirtyTracker {
 public:
  virtual ~DirtyTracker() = default;
  /// From here on every write to the first `chunks` chunks is seen. Posts nothing.
  virtual Status start(std::uint32_t chunks) = 0;
  /// Once, after start() and before anything is posted: these pages (by chunk, for all chunks) were found to hold data
  /// and will be copied. Later harvests may report more for it.
  virtual Status copied_first(std::span<const PageWord>) { return {}; }
  /// Posts what was written since start() or the last harvest, and arms it again. Announces the board.
  virtual Result<HarvestStats> harvest(Board& board) = 0;
  /// A harvest while the hypervisor is about to stop the guest, which must not wait for it: `stopping` is asked every
  /// few milliseconds, and if it says so the rest is left for harvest_last(). The hypervisor is asked for nothing,
  /// because it may not answer before the guest is paused: all that is found counts as if disk requests could still
  /// write it.
  virtual Result<HarvestStats> harvest_near_stop(Board& board, const std::function<bool()>& stopping) = 0;
  /// The harvest after the guest has been stopped and its disks drained: no request is in flight, so none is looked
  /// for.
  virtual Result<HarvestStats> harvest_last(Board& board) = 0;
  /// Posts those deferred pages whose disk requests have ended by now, without a scan, and gives how many are still
  /// deferred. Fewer of them are then left for the pause.
  virtual Result<std::uint64_t> settle(Board& board) = 0;
  /// Which of the pages asked about the hypervisor's page tables do not hold, so that they may have been given back.
  /// May tell pages that hold data (swapped out, or never touched by the hypervisor since its RAM was filled from
  /// outside); never leaves out one that was given back. Costs at most what a harvest costs, also where a file's own
  /// list of holes is long, and less the less is asked about; where harvest_last() is shared out among threads, this
  /// is, too.
  virtual Status find_absent(AbsentPages& pages) = 0;
  /// Undoes everything. Also done by the destructor, and by the kernel if this process dies.
  virtual Status stop() = 0;
};

}  // namespace godwit
