// What dirty tracking costs, per GiB of guest RAM: arming, a scan when nothing and when much was written, letting go.
//
// Two shapes: dense (1 GiB, every page there) and sparse (up to 1 TiB, one page of each GiB there). Sparse memory is
// not for free: to protect a page that is not there the kernel needs its page-table entry, 8 bytes for each 4 KiB.
#include <benchmark/benchmark.h>

#include <chrono>
#include <optional>
#include <string>

#include "base/units.h"
#include "scan_benches.h"
#include "scanned_process.h"
#include "tracking/absent_scan.h"
#include "tracking/last_scan.h"
#include "tracking/page_scanner.h"
#include "tracking/write_protection.h"

namespace {

using namespace godwit;
using bench::Kind;
using bench::ScannedProcess;

double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// A process with its memory under protection.
struct Tracked {
  Tracked(Kind kind, std::uint64_t gib, std::uint64_t stride) : bytes(gib * kGiB), child(kind, bytes) {
    child.write(stride);
    auto opened = RemoteProcess::open(child.pid());
    if (!opened) return;
    process.emplace(*std::move(opened));
    auto opened_scanner = PageScanner::open(*process);
    if (opened_scanner) scanner.emplace(*std::move(opened_scanner));
  }
  Status protect() {
    protection.emplace(TRY(WriteProtection::create(*process, nullptr)));
    TRY(protection->cover(child.address(), bytes));
    return {};
  }
  Status arm() { return scanner->arm(child.address(), bytes); }
  /// Gives the pages found.
  Result<std::uint64_t> scan() {
    std::uint64_t pages = 0;
    TRY(scanner->collect(child.address(), bytes,
                         [&](std::uint64_t start, std::uint64_t end) { pages += (end - start) / 4096; }));
    return pages;
  }
  std::uint64_t bytes;
  ScannedProcess child;
  std::optional<RemoteProcess> process;
  std::optional<PageScanner> scanner;
  std::optional<WriteProtection> protection;
};

void report(benchmark::State& state, double seconds, std::uint64_t gib) {
  const double rounds = static_cast<double>(state.iterations());
  state.counters["ms_per_GiB"] = seconds * 1e3 / rounds / static_cast<double>(gib);
}

void arm_and_release(benchmark::State& state, Kind kind, std::uint64_t gib, std::uint64_t stride) {
  double releasing = 0, arming = 0;
  std::uint64_t tables = 0;
  for (auto _ : state) {
    Tracked tracked(kind, gib, stride);
    const std::uint64_t before = tracked.child.page_table_bytes();
    Status done = tracked.protect();
    const double took = seconds_of([&] {
      if (done) done = tracked.arm();
    });
    const auto found = tracked.scan();
    if (!done || !found || *found != 0) {
      state.SkipWithError(!done ? done.error().message.c_str() : "armed memory has written pages");
      return;
    }
    tables += tracked.child.page_table_bytes() - before;
    arming += took;
    state.SetIterationTime(took);
    releasing += seconds_of([&] { tracked.protection->release(); });
  }
  report(state, arming, gib);
  const double rounds = static_cast<double>(state.iterations());
  state.counters["release_ms_per_GiB"] = releasing * 1e3 / rounds / static_cast<double>(gib);
  state.counters["tables_KiB_per_GiB"] = static_cast<double>(tables) / 1024 / rounds / static_cast<double>(gib);
}

/// `written`: one page in so many before each scan; 0: none.
void scan(benchmark::State& state, Kind kind, std::uint64_t gib, std::uint64_t stride, std::uint64_t written) {
  Tracked tracked(kind, gib, stride);
  Status done = tracked.protect();
  if (done) done = tracked.arm();
  if (!done) {
    state.SkipWithError(done.error().message.c_str());
    return;
  }
  const std::uint64_t pages = tracked.bytes / 4096;
  const std::uint64_t expected = written == 0 ? 0 : (pages + written - 1) / written;
  double total = 0;
  for (auto _ : state) {
    if (written != 0) tracked.child.write(written);
    Result<std::uint64_t> found = 0;
    const double took = seconds_of([&] { found = tracked.scan(); });
    if (!found || *found != expected) {
      state.SkipWithError(!found ? found.error().message.c_str() : "the scan found other pages than were written");
      return;
    }
    total += took;
    state.SetIterationTime(took);
  }
  report(state, total, gib);
}

/// What the guest pays: its first write to each page after a scan, which is a page fault, beside the next one.
void guest_write(benchmark::State& state, Kind kind) {
  Tracked tracked(kind, 1, 1);
  if (Status done = tracked.protect(); !done) {
    state.SkipWithError(done.error().message.c_str());
    return;
  }
  double first = 0, again = 0;
  for (auto _ : state) {
    if (Status done = tracked.arm(); !done) {
      state.SkipWithError(done.error().message.c_str());
      return;
    }
    const double took = seconds_of([&] { tracked.child.write(1); });
    again += seconds_of([&] { tracked.child.write(1); });
    first += took;
    state.SetIterationTime(took);
  }
  const double pages = static_cast<double>(state.iterations()) * static_cast<double>(tracked.bytes / 4096);
  state.counters["us_per_page"] = first * 1e6 / pages;
  state.counters["us_per_page_again"] = again * 1e6 / pages;
}

/// As with a paused guest: nothing is armed again. `stride`: one page in so many is there.
void last_scan(benchmark::State& state, Kind kind, std::uint64_t gib, std::uint64_t stride, std::uint64_t written,
               unsigned threads) {
  Tracked tracked(kind, gib, stride);
  Status done = tracked.protect();
  if (done) done = tracked.arm();
  const TrackedRange range{tracked.child.address(), tracked.bytes, ChunkIndex{0}};
  ArmedStretches all(range.address, range.length);
  all.add(all.missing(all.gaps(), 0));
  const auto crew = ScanCrew::open(*tracked.process, threads);
  if (!done || !crew) {
    state.SkipWithError(done ? crew.error().message.c_str() : done.error().message.c_str());
    return;
  }
  LastScan scan(**crew);
  scan.plan({&range, 1}, {&all, 1});
  if (written != 0) tracked.child.write(written);
  const std::uint64_t pages = tracked.bytes / 4096;
  const std::uint64_t expected = written == 0 ? 0 : (pages + written - 1) / written;
  Board board(static_cast<std::uint32_t>(tracked.bytes / kChunkSize));
  double total = 0;
  for (auto _ : state) {
    Result<std::uint64_t> found = 0;
    const double took = seconds_of([&] { found = scan.post(board); });
    if (!found || *found != expected) {
      state.SkipWithError(!found ? found.error().message.c_str() : "the scan found other pages than were written");
      return;
    }
    total += took;
    state.SetIterationTime(took);
  }
  report(state, total, gib);
}

/// As engine/given_back.h asks, but of the page table alone.
class AboutAllThatIsThere final : public AbsentPages {
 public:
  AboutAllThatIsThere(std::uint64_t chunks, std::uint64_t stride) : asked_(chunks) {
    for (std::uint64_t page = 0; page < chunks * kPagesPerChunk; page += stride) add_pages(asked_, page, 1);
  }
  Status ask(ChunkIndex first, std::span<PageWord> pages) override {
    std::copy_n(asked_.begin() + first.value, pages.size(), pages.begin());
    return {};
  }
  Status found(ChunkIndex, std::span<PageWord>) override { return fail(ErrorKind::kIo, "a page has gone"); }

 private:
  std::vector<PageWord> asked_;
};

/// What was given back, looked for among all that was sent: one page in `stride`, which are all there.
void find_absent(benchmark::State& state, Kind kind, std::uint64_t gib, std::uint64_t stride, unsigned threads) {
  Tracked tracked(kind, gib, stride);
  Status done = tracked.protect();
  const auto crew = ScanCrew::open(*tracked.process, threads);
  if (!done || !crew) {
    state.SkipWithError(done ? crew.error().message.c_str() : done.error().message.c_str());
    return;
  }
  const TrackedRange range{tracked.child.address(), tracked.bytes, ChunkIndex{0}};
  AboutAllThatIsThere questions(range.chunks(), stride);
  AbsentScan scan(**crew, {&range, 1});
  double total = 0;
  for (auto _ : state) {
    const double took = seconds_of([&] { done = scan.look(questions); });
    if (!done) {
      state.SkipWithError(done.error().message.c_str());
      return;
    }
    total += took;
    state.SetIterationTime(took);
  }
  report(state, total, gib);
}

constexpr std::uint64_t kPagesPerGib = kGiB / 4096;

void register_all() {
  const auto add = [](const std::string& name, auto function, int rounds) {
    benchmark::RegisterBenchmark(name.c_str(), function)
        ->UseManualTime()
        ->Iterations(rounds)
        ->Unit(benchmark::kMillisecond);
  };
  for (const auto& [kind, name] : {std::pair{Kind::kMemfd, "memfd"}, std::pair{Kind::kPrivate, "private"}}) {
    const std::string dense = std::string("dense_1GiB/") + name;
    add(
        dense + "/arm", [kind = kind](auto& state) { arm_and_release(state, kind, 1, 1); }, 3);
    add(
        dense + "/scan_clean", [kind = kind](auto& state) { scan(state, kind, 1, 1, 0); }, 20);
    add(
        dense + "/scan_1_in_100", [kind = kind](auto& state) { scan(state, kind, 1, 1, 100); }, 10);
    add(
        dense + "/scan_1_in_2", [kind = kind](auto& state) { scan(state, kind, 1, 1, 2); }, 10);
    add(
        dense + "/scan_all", [kind = kind](auto& state) { scan(state, kind, 1, 1, 1); }, 10);
    add(
        dense + "/guest_write", [kind = kind](auto& state) { guest_write(state, kind); }, 5);
  }
  for (const unsigned threads : {1U, 2U}) {
    const std::string by = "/last_scan_by_" + std::to_string(threads);
    for (const auto& [kind, name] : {std::pair{Kind::kMemfd, "memfd"}, std::pair{Kind::kPrivate, "private"}}) {
      const std::string dense = std::string("dense_4GiB/") + name + by;
      add(
          dense + "/clean", [=, kind = kind](auto& state) { last_scan(state, kind, 4, 1, 0, threads); }, 20);
      add(
          dense + "/1_in_64", [=, kind = kind](auto& state) { last_scan(state, kind, 4, 1, 64, threads); }, 20);
    }
    const std::string absent_by = "/find_absent_by_" + std::to_string(threads);
    for (const auto& [kind, name] : {std::pair{Kind::kMemfd, "memfd"}, std::pair{Kind::kPrivate, "private"}}) {
      add(
          std::string("dense_4GiB/") + name + absent_by,
          [=, kind = kind](auto& state) { find_absent(state, kind, 4, 1, threads); }, 20);
      add(
          std::string("sparse_1024GiB/") + name + absent_by,
          [=, kind = kind](auto& state) { find_absent(state, kind, 1024, kPagesPerGib, threads); }, 5);
    }
    add(
        "sparse_1024GiB/memfd" + by,
        [=](auto& state) { last_scan(state, Kind::kMemfd, 1024, kPagesPerGib, 0, threads); }, 2);
  }
  for (const std::uint64_t gib : {1, 64, 1024}) {
    const std::string sparse = "sparse_" + std::to_string(gib) + "GiB/memfd";
    const int rounds = gib > 1 ? 1 : 3;
    add(
        sparse + "/arm", [gib](auto& state) { arm_and_release(state, Kind::kMemfd, gib, kPagesPerGib); }, rounds);
    add(
        sparse + "/scan_clean", [gib](auto& state) { scan(state, Kind::kMemfd, gib, kPagesPerGib, 0); }, rounds);
    add(
        sparse + "/scan_1_per_GiB", [gib](auto& state) { scan(state, Kind::kMemfd, gib, kPagesPerGib, kPagesPerGib); },
        rounds);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (const Status can = check_write_protection(); !can) {
    std::fprintf(stderr, "skipped: %s\n", can.error().message.c_str());
    return 0;
  }
  benchmark::Initialize(&argc, argv);
  register_all();
  godwit::bench::add_sparse_benches();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
