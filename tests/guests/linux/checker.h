// The checker: one thread that rewrites memory at a set rate and verifies all of it, again and again.
//
// It works in ticks. Each tick first rewrites what the rate asks for, then verifies a slice; a pass is complete when
// every page of every area has been looked at once. verify_all() asks for a whole pass at once, at full speed, which is
// how the outside learns that nothing was lost at a given moment. What it leaves to others: the network (server.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "areas.h"
#include "redis_load.h"

namespace godwit::guest {

struct CheckerSetup {
  std::size_t content_pages = 0;
  std::size_t random_pages = 0;
  std::size_t writer_pages = 0;
  std::size_t freed_pages = 0;
  std::size_t checked_pages_per_second = 0;
  Load load = Load::kIdle;
  std::uint64_t rate = 0;        ///< pages rewritten, or redis' keys set, per second
  std::uint32_t redis_keys = 0;  ///< none: no redis at all
  std::string disk;
};

/// A look at the checker. Never waits for it: the server answers at once even while a pass runs at full speed.
struct CheckerState {
  std::uint64_t errors = 0;  ///< pages and records found wrong since the start; stays
  std::uint64_t passes = 0;
  std::uint64_t writes = 0;  ///< pages rewritten and records set
  Load load = Load::kIdle;
  std::uint64_t rate = 0;
};

class Checker {
 public:
  /// Fills the memory. False if the disk gave no content, or redis did not start.
  bool prepare(const CheckerSetup& setup);
  /// The thread's body; never returns.
  [[noreturn]] void run();

  // From any thread.
  CheckerState state() const noexcept;
  /// False if the guest has not got what the load needs.
  bool set_load(Load load, std::uint64_t rate);
  /// Rewrites all of the writer's memory, so that a load begins as it began the last time.
  void renew(Load load);
  /// Waits for a whole pass that began after the call, redis' records included.
  CheckerState verify_all();
  /// Takes and frees memory again, as at the start, with other random bytes. Errors count as one error.
  void free_again();

 private:
  void tick(double seconds);
  void verify(std::size_t pages);
  void note_error(const Area& area, std::size_t page);
  bool leave_freed();

  std::mutex mutex_;  // held by the thread during a tick; so all below changes between ticks only
  std::condition_variable pass_done_;
  CheckerSetup setup_;
  std::unique_ptr<StaticArea> content_;
  std::unique_ptr<StaticArea> random_;
  std::unique_ptr<WriterArea> writer_;
  std::unique_ptr<RedisLoad> redis_;  // if there is one
  std::vector<const Area*> areas_;
  std::size_t area_at_ = 0;
  std::size_t page_at_ = 0;
  double owed_writes_ = 0;
  double owed_checks_ = 0;
  std::atomic<Load> load_{Load::kIdle};
  std::atomic<std::uint64_t> rate_{0};
  std::atomic<std::uint64_t> writes_{0};
  std::atomic<std::uint64_t> errors_{0};
  std::atomic<std::uint64_t> passes_{0};
  std::atomic<Word> times_freed_{0};
  std::atomic<int> waiting_{0};  // callers of verify_all
};

}  // namespace godwit::guest
