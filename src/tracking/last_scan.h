// The scan of a paused guest: which pages have been written since they were armed, by several threads, none armed
// again.
//
//   open():  [threads, one to a CPU] wait
//   plan():  what is armed, in slices, and the gaps in which something may have come to be since
//   post():  slices of all ranges --> whichever thread is free, the caller too --> PAGEMAP_SCAN --> board
//
// One thread takes a millisecond per GiB, all of it pause. Reading takes the address space's lock shared, so threads do
// not wait for each other; arming would make them slower, because each flushes the others' TLBs. A scan is one long
// system call: two threads that wake up on one CPU stay there, so each has a CPU of its own. One whose CPU is taken by
// somebody else leaves its part to the others, and may go to another CPU if it is in the midst of a slice.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "memory/board.h"
#include "memory/page_list.h"
#include "tracking/armed_stretches.h"
#include "tracking/page_scanner.h"
#include "tracking/tracked_range.h"

namespace godwit {

/// How many threads so much memory is worth, bytes, with so many CPUs; 1: none beside the caller's.
unsigned last_scan_threads(std::uint64_t bytes, unsigned cpus) noexcept;

class LastScan {
 public:
  /// `threads` of them wait from here on beside the caller, none if it is 1. All that post() needs is allocated.
  static Result<std::unique_ptr<LastScan>> open(const RemoteProcess& process, unsigned threads);
  ~LastScan();
  LastScan(const LastScan&) = delete;
  LastScan& operator=(const LastScan&) = delete;

  /// What is to be scanned, in place of what was: armed[i] is ranges[i]'s. The ranges outlive it.
  void plan(std::span<const TrackedRange> ranges, std::span<const ArmedStretches> armed);
  /// Posts what has been written, and gives how many pages. Nothing is armed: it would find the same again.
  Result<std::uint64_t> post(Board& board);

 private:
  struct Slice {
    const TrackedRange* range = nullptr;
    Stretch stretch;
    bool armed = true;  ///< else a gap
  };
  static constexpr std::size_t kMostOfASlice = 257;  ///< chunks that an armed one may touch
  struct Worker {
    explicit Worker(PageScanner opened) : scanner(std::move(opened)) { found.reserve(kMostOfASlice); }
    PageScanner scanner;
    pid_t thread = 0;                 ///< 0: the caller's
    std::vector<PagesOfChunk> found;  ///< of one slice; kept for its capacity
    std::uint64_t pages = 0;
    Status status;
  };

  LastScan() = default;
  void run(const std::stop_token& stop, Worker& worker, std::size_t number);
  void scan_slices(Worker& worker);
  void let_go_elsewhere();
  Status scan_slice(Worker& worker, const Slice& slice);

  cpu_set_t cpus_{};  ///< that this process may run on
  std::vector<Slice> slices_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<std::size_t> next_{0};  ///< slice
  Board* board_ = nullptr;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::uint64_t round_ = 0;
  bool open_ = false;        ///< threads that come now take part
  std::size_t at_work_ = 0;  ///< threads that do
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
