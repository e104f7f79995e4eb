// Pages that the guest itself has no use for: their content need not travel.
//
// Why leaving them out is safe: dirty tracking runs before they are read, and whoever takes a free page into use writes
// it first, so it is found by a harvest. A finder that is not sure knows nothing: it names no page rather than guess,
// except for the time in which it says itself that what it names is only likely.
#pragma once

#include <functional>
#include <span>
#include <stop_token>

#include "base/result.h"
#include "memory/page.h"

namespace godwit {

class FreePages {
 public:
  virtual ~FreePages() = default;

  /// Looks for the guest's books on its memory, once. Takes tens of milliseconds per GiB of data: call it from a thread
  /// of its own, beside the copying. kUnsupported, with the reason for the report, if this guest's books cannot be
  /// found or trusted: then no page is free.
  ///
  /// Calls `likely` at most once, on its own thread, as soon as there are books that fit, before it knows whether there
  /// are others that fit as well. From then on find() may be called, but what it names is only likely to be free: if
  /// locate() does not end well, it must travel after all. keep_free() only once locate() has ended well.
  virtual Status locate(std::stop_token stop, const std::function<void()>& likely) = 0;

  /// Of `pages` (by chunk, for all chunks) clears those that are not free now, those without data, and those of one
  /// value that keep_needed() has named. Milliseconds per GiB of RAM. Dirty tracking must run. One thread at a time, as
  /// for the next one. An error, or books that contradict themselves, means: nothing free, all cleared.
  virtual Status find(std::span<PageWord> pages) = 0;

  /// Of `pages` (by chunk from `first`), which find() named, keeps those that must travel though they are free: those
  /// whose bytes are all the same, because a guest that poisons or clears its free pages finds them as it left them,
  /// and those that have lost their data since. Looks at every page: 30 ms for 1 GiB, or 300 where memory has to be
  /// copied, and more where pages are of one value.
  virtual Status keep_needed(ChunkIndex first, std::span<PageWord> pages) = 0;

  /// Of `pages` (by chunk, for all chunks) clears those that are not free now. For the stopped guest, so it is quick:
  /// looks at nothing else. Clears all of them if the books cannot be trusted any more. Asked while the guest runs, it
  /// shows how long it takes, and its answer means nothing.
  virtual void keep_free(std::span<PageWord> pages) = 0;
};

}  // namespace godwit
