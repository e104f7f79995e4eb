#include "tracking/last_scan.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "base/cpu_account.h"
#include "base/units.h"

namespace godwit {
namespace {

// Some 70 us of scanning: a thread whose CPU is busy with something else holds nobody up for longer. A multiple of huge
// pages' size.
constexpr std::uint64_t kLastScanSlice = 64 * kMiB;  // LastScan::kMostOfASlice chunks
// Below that waking threads up takes as long as what they save.
constexpr std::uint64_t kWorthAThread = kGiB;
// More would wait for memory, not for CPUs.
constexpr unsigned kMostThreads = 16;

/// The CPUs that this process may run on, the `number`th of them round and round. Best effort.
void stay_on_one_cpu(std::size_t number) noexcept {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int count = CPU_COUNT(&allowed);
  if (count == 0) return;
  int skip = static_cast<int>(number % static_cast<std::size_t>(count));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || skip-- > 0) continue;
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

Result<std::unique_ptr<LastScan>> LastScan::open(const RemoteProcess& process, std::span<const TrackedRange> ranges,
                                                 unsigned threads) {
  std::unique_ptr<LastScan> scan(new LastScan());
  for (const TrackedRange& range : ranges) {
    for (std::uint64_t at = 0; at < range.length; at += kLastScanSlice) {
      scan->slices_.push_back({range.address + at, std::min(kLastScanSlice, range.length - at),
                               ChunkIndex{range.first_chunk.value + static_cast<std::uint32_t>(at / kChunkSize)}});
    }
  }
  for (unsigned i = 0; i < std::max(threads, 1U); ++i) {
    scan->workers_.push_back(std::make_unique<Worker>(TRY(PageScanner::open(process))));
  }
  if (threads <= 1) return scan;
  for (std::size_t i = 0; i < scan->workers_.size(); ++i) {
    scan->threads_.push_back(
        job_thread([&scan = *scan, i](const std::stop_token& stop) { scan.run(stop, *scan.workers_[i], i); }));
  }
  return scan;
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
  if (threads_.empty()) {
    scan_slices(*workers_.front());
  } else {
    std::unique_lock lock(mutex_);
    ++round_;
    at_work_ = threads_.size();
    changed_.notify_all();
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
  stay_on_one_cpu(number);
  std::unique_lock lock(mutex_);
  for (std::uint64_t done = 0;; done = round_) {
    if (!changed_.wait(lock, stop, [&] { return round_ != done; })) return;
    const std::uint64_t round = round_;
    lock.unlock();
    scan_slices(worker);
    lock.lock();
    if (round == round_ && --at_work_ == 0) changed_.notify_all();
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
  TRY(worker.scanner.look(slice.address, slice.length, [&](std::uint64_t start, std::uint64_t end) {
    append_run(found, slice.first_chunk, (start - slice.address) / kPageSize, (end - start) / kPageSize);
  }));
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
