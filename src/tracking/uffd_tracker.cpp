// One harvest, and why nothing is lost:
//
//   scan all ranges, collect, re-arm --> look at requests in flight --> post (found + deferred) --> deferred := look
//                   s                            l                              p
//
// A write through the page table after its page was armed is found by the next scan; it was made before that scan, so
// a lane that reads after the post reads it.
//
// A disk read past the page cache (O_DIRECT) pins its page, which counts as a write, when it is submitted; the data
// lands later, without a page fault. Let k be the first scan after the pinning: it reports the page. When k's look
// comes, either
//   - the data has landed: so it did before p, and the lane that reads after the post reads it; or
//   - the request is in flight: the look names it, and the next harvest posts the page again. The same two cases then
//     hold for the next harvest's look, and so on, until the data lands.
// So the look must come after the scan (a request submitted between the two is pinned again, and the next scan finds
// it) and before the post (else a landing between post and look would be in neither). At the last harvest the guest
// is paused and nothing is in flight, so nothing is deferred. start() looks too: a request that was submitted before
// the first arming is reported by no scan at all, and may land after a lane has read the page for the first time.
//
// Where it is known what is there (tracked_range.h), only that is armed, and each scan looks into the gaps besides:
//
//   look for data in the gaps --> arm all round what was found --> all of that is found, and armed from then on
//
// What is written into a gap before the look is found by it, and so is all round it. What is written there after the
// look and before the arming is found, too, if it lies round something that the look has found; else it lies in a gap
// still, for the next look. What is written after the arming is the next scan's. What is found is posted after the
// arming, so a lane that reads it then reads what was written before it.
#include "tracking/uffd_tracker.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>

#include "base/units.h"
#include "memory/page_list.h"
#include "tracking/absent_scan.h"
#include "tracking/armed_stretches.h"
#include "tracking/data_look.h"
#include "tracking/last_scan.h"
#include "tracking/page_scanner.h"
#include "tracking/write_protection.h"

namespace godwit {
namespace {

// Some milliseconds of scanning, and a multiple of every huge page's size.
constexpr std::uint64_t kSlice = std::uint64_t{1} << 30;

// A gap costs two calls to the kernel a scan, and arming it instead takes 64 KiB of page tables.
constexpr std::uint64_t kLeastGap = 32 * kMiB;

class UffdTracker final : public DirtyTracker {
 public:
  UffdTracker(const RemoteProcess& process, std::vector<TrackedRange> ranges, std::unique_ptr<DiskWrites> disk_writes,
              const Clock& clock, const TrackerHelpers& helpers)
      : process_(process),
        ranges_(std::move(ranges)),
        disk_writes_(std::move(disk_writes)),
        clock_(clock),
        helpers_(helpers) {}

  /// The releaser must not take it for a death.
  ~UffdTracker() override { (void)UffdTracker::stop(); }

  Status start(std::uint32_t chunks) override {
    if (protection_) return fail(ErrorKind::kInvalidArgument, "the tracker runs already");
    std::erase_if(ranges_, [&](const TrackedRange& range) { return range.first_chunk.value >= chunks; });
    TRY(check_mapped());
    PageScanner scanner = TRY(PageScanner::open(process_));
    WriteProtection protection = TRY(WriteProtection::create(process_, helpers_.lender));
    for (const TrackedRange& range : ranges_) TRY(protection.cover(range.address, range.length, helpers_.cancelled));
    // Armed pages are what takes long to let go. Without its help our death is only less gentle.
    if (helpers_.releaser != nullptr) (void)helpers_.releaser->hold(protection.descriptor(), protection.covered());
    armed_.clear();
    owed_.clear();
    for (const TrackedRange& range : ranges_) {
      armed_.emplace_back(range.address, range.length);
      TRY(arm_what_is_there(scanner, range, armed_.back()));
    }
    deferred_.clear();
    if (disk_writes_) deferred_ = TRY_IN("disk requests in flight", disk_writes_->in_flight());
    normalise(deferred_);
    looks_ = std::make_unique<Looks>(TRY(ScanCrew::open(process_, threads())), ranges_);
    looks_->written.plan(ranges_, armed_);
    protection_.emplace(std::move(protection));
    scanner_.emplace(std::move(scanner));
    broken_ = false;
    return {};
  }

  /// What is written into a gap after start() and is copied before the first harvest is armed here, because later it
  /// might become a page of zeros that no look finds. Its surroundings, which may have been written before they were
  /// armed, are owed to the next harvest.
  Status copied_first(std::span<const PageWord> pages) override {
    TRY(check_works());
    broken_ = true;
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
      const std::uint64_t end = ranges_[i].first_chunk.value + ranges_[i].chunks();
      if (end > pages.size()) return fail(ErrorKind::kInvalidArgument, fmt::format("{} chunks named", pages.size()));
      collect_data(ranges_[i], pages);
      TRY(arm_more(ranges_[i], armed_[i], {}, owed_));
    }
    looks_->written.plan(ranges_, armed_);
    broken_ = false;
    return {};
  }

  Result<HarvestStats> harvest(Board& board) override { return collect_and_post(board, disk_writes_.get()); }

  Result<HarvestStats> harvest_near_stop(Board& board, const std::function<bool()>& stopping) override {
    TRY(check_works());
    const Instant begin = clock_.now();
    broken_ = true;  // until it has gone well
    TRY(scan(stopping));
    HarvestStats stats;
    stats.pages = count_pages(found_);
    TRY(post(board, found_));
    board.announce();
    if (disk_writes_) {
      // Any of these pages may be one of a request in flight, and so may those of the last look.
      deferred_.insert(deferred_.end(), found_.begin(), found_.end());
      normalise(deferred_);
      stats.deferred = count_pages(deferred_);
    }
    broken_ = false;
    stats.took = clock_.now() - begin;
    return stats;
  }

  Result<HarvestStats> harvest_last(Board& board) override {
    TRY(check_works());
    const Instant begin = clock_.now();
    broken_ = true;  // until it has gone well
    HarvestStats stats;
    stats.pages = TRY(looks_->written.post(board));
    TRY(check_alive());
    TRY(post(board, owed_));
    stats.in_flight = count_pages(deferred_);
    TRY(post(board, deferred_));
    deferred_.clear();
    board.announce();
    broken_ = false;
    stats.took = clock_.now() - begin;
    return stats;
  }

  /// A page that no request in flight names has got its data before the look; a request submitted since the last scan
  /// is reported by the next one. So only the pages named by both looks stay deferred.
  Result<std::uint64_t> settle(Board& board) override {
    if (deferred_.empty()) return std::uint64_t{0};
    auto look = TRY_IN("disk requests in flight", disk_writes_->in_flight());
    normalise(look);
    auto [still, landed] = split(deferred_, look);
    TRY(post(board, landed));
    board.announce();
    deferred_ = std::move(still);
    return count_pages(deferred_);
  }

  Status find_absent(AbsentPages& pages) override {
    if (!looks_) return fail(ErrorKind::kInvalidArgument, "the tracker does not run");
    TRY(looks_->absent.look(pages));
    return check_alive();
  }

  Status stop() override {
    protection_.reset();
    if (helpers_.releaser != nullptr) helpers_.releaser->forget();
    scanner_.reset();
    looks_.reset();
    deferred_.clear();
    return {};
  }

 private:
  /// Into a paused guest's memory.
  struct Looks {
    Looks(std::unique_ptr<ScanCrew> opened, std::span<const TrackedRange> ranges)
        : crew(std::move(opened)), written(*crew), absent(*crew, ranges) {}
    std::unique_ptr<ScanCrew> crew;
    LastScan written;
    AbsentScan absent;
  };

  Status check_works() const {
    if (!protection_) return fail(ErrorKind::kInvalidArgument, "the tracker does not run");
    if (broken_) return fail(ErrorKind::kIo, "the tracker has failed before and may have lost pages");
    return {};
  }

  /// `disk_writes` is null where nothing can be in flight.
  Result<HarvestStats> collect_and_post(Board& board, DiskWrites* disk_writes) {
    TRY(check_works());
    const Instant begin = clock_.now();
    broken_ = true;  // until it has gone well
    TRY(scan());
    HarvestStats stats;
    stats.pages = count_pages(found_);
    std::vector<PagesOfChunk> look;
    if (disk_writes != nullptr) {
      auto answer = disk_writes->in_flight();
      if (!answer) {
        // What was found is armed again and must not be forgotten: it goes with the next harvest.
        deferred_.insert(deferred_.end(), found_.begin(), found_.end());
        normalise(deferred_);
        broken_ = false;
        return fail(std::move(answer).error().in("disk requests in flight"));
      }
      look = *std::move(answer);
      normalise(look);
    }
    stats.in_flight = count_pages(deferred_);
    stats.deferred = count_pages(look);
    TRY(post(board, found_));
    TRY(post(board, deferred_));
    deferred_ = std::move(look);
    board.announce();
    broken_ = false;
    stats.took = clock_.now() - begin;
    return stats;
  }

  static Status arm_what_is_there(PageScanner& scanner, const TrackedRange& range, ArmedStretches& armed) {
    std::vector<Stretch> data;
    TRY(look_for_data(scanner, range, {0, range.length}, [&](const Stretch& each) { data.push_back(each); }));
    std::uint64_t bytes = 0;
    for (const Stretch& each : data) bytes += each.length();
    if (!is_all_there_is(range, bytes)) data = {{0, range.length}};
    const auto missing = armed.missing(data, kLeastGap);
    for (const Stretch& each : missing) TRY(scanner.arm(range.address + each.begin, each.length()));
    armed.add(missing);
    return {};
  }

  void add_found(const TrackedRange& range, const Stretch& stretch) {
    append_run(found_, range.first_chunk, stretch.begin / kPageSize, stretch.length() / kPageSize);
  }

  /// What is written while `enough` says so stays for the next scan.
  Status scan(const std::function<bool()>& enough = {}) {
    found_.clear();
    std::swap(found_, owed_);
    bool more_armed = !found_.empty();
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
      for (const Stretch& stretch : armed_[i].armed()) TRY(collect(ranges_[i], stretch, enough));
      if (enough && enough()) break;
      const bool found_some = TRY(look_into_gaps(ranges_[i], armed_[i], enough));
      more_armed = more_armed || found_some;
    }
    if (more_armed) {
      normalise(found_);
      looks_->written.plan(ranges_, armed_);
    }
    return check_alive();
  }

  Status collect(const TrackedRange& range, const Stretch& stretch, const std::function<bool()>& enough) {
    const std::uint64_t slice = enough ? kSlice : stretch.length();
    for (std::uint64_t at = stretch.begin; at < stretch.end; at += slice) {
      if (enough && enough()) break;
      const std::uint64_t length = std::min(slice, stretch.end - at);
      TRY(scanner_->collect(range.address + at, length, [&](std::uint64_t start, std::uint64_t end) {
        add_found(range, {start - range.address, end - range.address});
      }));
    }
    return {};
  }

  /// Whether there was something.
  Result<bool> look_into_gaps(const TrackedRange& range, ArmedStretches& armed, const std::function<bool()>& enough) {
    data_.clear();
    for (const Stretch& gap : armed.gaps()) {
      const std::uint64_t slice = enough ? kSlice : gap.length();
      for (std::uint64_t at = gap.begin; at < gap.end; at += slice) {
        if (enough && enough()) return false;  // it stays a gap, into which the next scan looks
        TRY(look_for_data(*scanner_, range, {at, std::min(at + slice, gap.end)},
                          [&](const Stretch& each) { data_.push_back(each); }));
      }
    }
    return arm_more(range, armed, enough, found_);
  }

  /// Arms all round `data_`, and adds all that is armed to `list`. Whether there was something.
  Result<bool> arm_more(const TrackedRange& range, ArmedStretches& armed, const std::function<bool()>& enough,
                        std::vector<PagesOfChunk>& list) {
    std::vector<Stretch> more;
    for (const Stretch& each : armed.missing(data_, 0)) {
      if (enough && enough()) break;
      TRY(scanner_->arm(range.address + each.begin, each.length()));
      append_run(list, range.first_chunk, each.begin / kPageSize, each.length() / kPageSize);
      more.push_back(each);
    }
    armed.add(more);
    return !more.empty();
  }

  /// What a stretch of chunks names, as stretches of the range.
  void collect_data(const TrackedRange& range, std::span<const PageWord> pages) {
    data_.clear();
    for (std::uint64_t c = 0; c < range.chunks(); ++c) {
      if (pages[range.first_chunk.value + c] == 0) continue;
      data_.push_back({c * kChunkSize, std::min((c + 1) * kChunkSize, range.length)});
    }
  }

  /// A process that has ended has no memory, so its scan finds nothing: that must not look like a quiet guest.
  Status check_alive() const {
    if (process_.alive()) return {};
    return fail(ErrorKind::kPeerLost, fmt::format("process {} has ended", process_.pid()));
  }

  unsigned threads() const {
    if (helpers_.scan_threads > 0) return helpers_.scan_threads;
    std::uint64_t bytes = 0;
    for (const TrackedRange& range : ranges_) bytes += range.length;
    return scan_threads(bytes, std::max(std::thread::hardware_concurrency(), 1U));
  }

  static Status post(Board& board, const std::vector<PagesOfChunk>& list) {
    for (const PagesOfChunk& entry : list) {
      if (entry.chunk.value >= board.chunk_count()) {
        return fail(ErrorKind::kInvalidArgument, fmt::format("the board has no chunk {}", entry.chunk.value));
      }
      board.post(entry.chunk, entry.pages);
    }
    return {};
  }

  /// A scan passes over addresses where nothing is mapped, so a wrong range would look like a quiet guest.
  Status check_mapped() const {
    const auto mappings = TRY(process_.mappings());  // ascending
    for (const TrackedRange& range : ranges_) {
      std::uint64_t mapped_to = range.address;
      for (const Mapping& mapping : mappings) {
        if (mapping.start <= mapped_to && mapping.end > mapped_to) mapped_to = mapping.end;
      }
      if (mapped_to < range.address + range.length) {
        return fail(ErrorKind::kInvalidArgument,
                    fmt::format("process {} maps nothing at {:#x}", process_.pid(), mapped_to));
      }
    }
    return {};
  }

  const RemoteProcess& process_;
  std::vector<TrackedRange> ranges_;  // those that start() was not asked for are gone
  const std::unique_ptr<DiskWrites> disk_writes_;
  const Clock& clock_;
  const TrackerHelpers helpers_;
  std::vector<ArmedStretches> armed_;  ///< of each range
  std::optional<PageScanner> scanner_;
  std::unique_ptr<Looks> looks_;
  std::optional<WriteProtection> protection_;
  std::vector<PagesOfChunk> found_;     ///< of the harvest at hand; kept for its capacity
  std::vector<Stretch> data_;           ///< likewise, in gaps
  std::vector<PagesOfChunk> owed_;      ///< to the next harvest
  std::vector<PagesOfChunk> deferred_;  ///< the last look: goes with the next harvest
  bool broken_ = false;
};

}  // namespace

Result<std::unique_ptr<DirtyTracker>> make_uffd_tracker(const RemoteProcess& process, std::vector<TrackedRange> ranges,
                                                        std::unique_ptr<DiskWrites> disk_writes, const Clock& clock,
                                                        const TrackerHelpers& helpers) {
  for (const TrackedRange& range : ranges) {
    if (range.address % kPageSize != 0 || range.length % kPageSize != 0 || range.length == 0 ||
        range.address + range.length < range.address) {
      return fail(ErrorKind::kInvalidArgument,
                  fmt::format("cannot track {} bytes at {:#x}", range.length, range.address));
    }
  }
  TRY(check_write_protection());
  return std::make_unique<UffdTracker>(process, std::move(ranges), std::move(disk_writes), clock, helpers);
}

Status try_tracking(const RemoteProcess& process, std::uint64_t address, std::uint64_t page_size,
                    DescriptorLender* lender) {
  PageScanner scanner = TRY(PageScanner::open(process));
  WriteProtection protection = TRY(WriteProtection::create(process, lender));
  Status status = protection.cover(address, page_size);
  if (status) status = scanner.arm(address, page_size);
  if (status || status.error().kind == ErrorKind::kPeerLost || status.error().kind == ErrorKind::kRefused) {
    return status;
  }
  return fail(ErrorKind::kUnsupported, fmt::format("this kernel cannot track what is written in pages of {} ({})",
                                                   format_size(page_size), status.error().message));
}

}  // namespace godwit
