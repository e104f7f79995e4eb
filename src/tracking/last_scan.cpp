#include "tracking/last_scan.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/cpu_account.h"
#include "base/units.h"
#include "tracking/data_look.h"

namespace godwit {
namespace {

// Some 70 us of scanning.
constexpr std::uint64_t kLastScanSlice = 64 * kMiB;  // LastScan::kMostOfASlice chunks, at most
// Of a gap. Page tables that are not there are passed over as wholes, but those that were given back page by page are
// there; a file is asked once for all of a gap.
constexpr std::uint64_t kGapSlice = kGiB;
constexpr std::uint64_t kFileGapSlice = 256 * kGiB;
// Below that waking threads up takes as long as what they save.
constexpr std::uint64_t kWorthAThread = kGiB;
// More would wait for memory, not for CPUs.
constexpr unsigned kMostThreads = 16;

// A slice takes less.
constexpr Duration kLate = std::chrono::milliseconds(1);

/// The `number`th CPU of a set, round and round. Best effort.
void stay_on_one_cpu(const cpu_set_t& cpus, std::size_t number) noexcept {
  const int count = CPU_COUNT(&cpus);
  if (count == 0) return;
  int skip = static_cast<int>(number % static_cast<std::size_t>(count));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &cpus) || skip-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

}  // namespace

unsigned last_scan_threads(std::uint64_t bytes, unsigned cpus) noexcept {
  const auto worth = bytes / kWorthAThread;
  return static_cast<unsigned>(std::clamp<std::uint64_t>(std::min<std::uint64_t>(worth, cpus), 1, kMostThreads));
}

Result<std::unique_ptr<LastScan>> LastScan::open(const RemoteProcess& process, unsigned threads) {
  std::unique_ptr<LastScan> scan(new LastScan());
  const unsigned helpers = threads > 1 ? threads : 0;
  for (unsigned i = 0; i <= helpers; ++i) {
    scan->workers_.push_back(std::make_unique<Worker>(TRY(PageScanner::open(process))));
  }
  if (::sched_getaffinity(0, sizeof scan->cpus_, &scan->cpus_) != 0) CPU_ZERO(&scan->cpus_);
  for (std::size_t i = 1; i <= helpers; ++i) {
    scan->threads_.push_back(
        job_thread([&scan = *scan, i](const std::stop_token& stop) { scan.run(stop, *scan.workers_[i], i - 1); }));
  }
  return scan;
}

void LastScan::plan(std::span<const TrackedRange> ranges, std::span<const ArmedStretches> armed) {
  slices_.clear();
  const auto add = [this](const TrackedRange& range, const std::vector<Stretch>& stretches, bool are_armed) {
    const std::uint64_t most = are_armed                               ? kLastScanSlice
                               : range.populated == Populated::kInFile ? kFileGapSlice
                                                                       : kGapSlice;
    for (const Stretch& each : stretches) {
      for (std::uint64_t at = each.begin; at < each.end; at += most) {
        slices_.push_back({&range, {at, std::min(at + most, each.end)}, are_armed});
      }
    }
  };
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    add(ranges[i], armed[i].gaps(), false);
    add(ranges[i], armed[i].armed(), true);
  }
}

LastScan::~LastScan() {
  threads_.clear();  // before what they use
}

Result<std::uint64_t> LastScan::post(Board& board) {
  board_ = &board;
  next_ = 0;
  for (auto& worker : workers_) {
    worker->pages = 0;
    worker->status = {};
  }
  {
    const std::lock_guard lock(mutex_);
    ++round_;
    open_ = true;
  }
  changed_.notify_all();
  scan_slices(*workers_.front());
  std::unique_lock lock(mutex_);
  open_ = false;
  // All slices are done or being done.
  if (!changed_.wait_for(lock, kLate, [this] { return at_work_ == 0; })) {
    let_go_elsewhere();
    changed_.wait(lock, [this] { return at_work_ == 0; });
  }
  std::uint64_t pages = 0;
  for (auto& worker : workers_) {
    TRY(std::move(worker->status));
    pages += worker->pages;
  }
  return pages;
}

void LastScan::run(const std::stop_token& stop, Worker& worker, std::size_t number) {
  stay_on_one_cpu(cpus_, number);
  std::unique_lock lock(mutex_);
  worker.thread = ::gettid();
  for (std::uint64_t done = 0; changed_.wait(lock, stop, [&] { return round_ != done; });) {
    done = round_;
    if (!open_) continue;  // it has come too late
    ++at_work_;
    lock.unlock();
    scan_slices(worker);
    lock.lock();
    if (--at_work_ == 0) changed_.notify_all();
  }
}

/// Somebody more important may have the CPU of a thread that has begun a slice.
void LastScan::let_go_elsewhere() {
  for (const auto& worker : workers_) {
    if (worker->thread != 0) (void)::sched_setaffinity(worker->thread, sizeof cpus_, &cpus_);
  }
}

void LastScan::scan_slices(Worker& worker) {
  for (auto i = next_.fetch_add(1); i < slices_.size() && worker.status; i = next_.fetch_add(1)) {
    worker.status = scan_slice(worker, slices_[i]);
  }
}

Status LastScan::scan_slice(Worker& worker, const Slice& slice) {
  std::vector<PagesOfChunk>& found = worker.found;
  found.clear();
  const TrackedRange& range = *slice.range;
  const auto add = [&](const Stretch& each) {
    append_run(found, range.first_chunk, each.begin / kPageSize, each.length() / kPageSize);
  };
  if (slice.armed) {
    TRY(worker.scanner.look(range.address + slice.stretch.begin, slice.stretch.length(),
                            [&](std::uint64_t start, std::uint64_t end) {
                              add({start - range.address, end - range.address});
                            }));
  } else {
    TRY(look_for_data(worker.scanner, range, slice.stretch, add));
  }
  // Where its answer was full the kernel goes on a little before that: what it has told twice counts once.
  normalise(found);
  for (const PagesOfChunk& entry : found) {
    if (entry.chunk.value >= board_->chunk_count()) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("the board has no chunk {}", entry.chunk.value));
    }
    board_->post(entry.chunk, entry.pages);
    worker.pages += page_count(entry.pages);
  }
  return {};
}

}  // namespace godwit
