// Threads that share out the looks into a paused guest's memory: one to a CPU, idle until there is work.
//
//   open():   [threads, one to a CPU] wait
//   share():  parts of the work --> whichever thread is free, the caller too
//
// One thread takes a millisecond per GiB, all of it pause. Reading takes the address space's lock shared, so threads do
// not wait for each other; arming would make them slower, because each flushes the others' TLBs. A look is one long
// system call: two threads that wake up on one CPU stay there, so each has a CPU of its own. One whose CPU is taken by
// somebody else leaves its part to the others, and may go to another CPU if it is in the midst of a part.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "attach/remote_process.h"
#include "tracking/page_scanner.h"

namespace godwit {

/// How many threads so much memory is worth, bytes, with so many CPUs; 1: none beside the caller's.
unsigned scan_threads(std::uint64_t bytes, unsigned cpus) noexcept;

class ScanCrew {
 public:
  /// `threads` of them wait from here on beside the caller, none if it is 1. All that share() needs is allocated.
  static Result<std::unique_ptr<ScanCrew>> open(const RemoteProcess& process, unsigned threads);
  ~ScanCrew();
  ScanCrew(const ScanCrew&) = delete;
  ScanCrew& operator=(const ScanCrew&) = delete;

  /// The caller, and the threads that wait.
  std::size_t members() const noexcept { return members_.size(); }

  /// Does one part of the work on a member's thread, with that member's scanner.
  using Work = std::function<Status(std::size_t member, PageScanner& scanner, std::size_t part)>;
  /// Has the parts 0 to `parts` - 1 done, each once, and returns when all are. After an error, which it gives, some may
  /// have been left out. From one thread at a time.
  Status share(std::size_t parts, const Work& work);

 private:
  struct alignas(64) Member {
    explicit Member(PageScanner opened) : scanner(std::move(opened)) {}
    PageScanner scanner;
    pid_t thread = 0;     ///< 0: the caller's
    bool astray = false;  ///< may run on any CPU
    Status status;
  };

  ScanCrew() = default;
  void run(const std::stop_token& stop, std::size_t number);
  void do_parts(std::size_t number);
  void let_go_elsewhere();

  cpu_set_t cpus_{};  ///< that this process may run on
  std::vector<std::unique_ptr<Member>> members_;
  const Work* work_ = nullptr;
  std::size_t parts_ = 0;
  alignas(64) std::atomic<std::size_t> next_{0};  ///< part
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::uint64_t round_ = 0;
  bool open_ = false;        ///< threads that come now take part
  std::size_t at_work_ = 0;  ///< threads that do
  std::vector<std::jthread> threads_;
};

}  // namespace godwit
