// What a tracker costs where little of a large memory is there: 1 TiB with 4 GiB of data;
// beside it the same with all of it armed.
#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <string>

#include "base/units.h"
#include "scan_benches.h"
#include "scanned_process.h"
#include "tracking/uffd_tracker.h"

namespace godwit::bench {
namespace {

constexpr std::uint64_t kBytes = 1024 * kGiB;
constexpr std::uint64_t kData = 4 * kGiB;

double milliseconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

Result<TrackedRange> range_of(const ScannedProcess& child, const RemoteProcess& process, Kind kind, bool sparse) {
  TrackedRange range{child.address(), kBytes, ChunkIndex{0}};
  if (!sparse) return range;
  range.populated = Populated::kInPageTable;
  if (kind == Kind::kPrivate) return range;
  range.populated = Populated::kInFile;
  const auto mappings = TRY(process.mappings());
  for (const Mapping& mapping : mappings) {
    if (mapping.start != child.address()) continue;
    range.file = std::make_shared<const UniqueFd>(TRY(process.open_backing_file(mapping)));
  }
  return range;
}

Status measure(benchmark::State& state, Kind kind, bool sparse) {
  ScannedProcess child(kind, kBytes);
  child.write(1, kData);
  const auto process = TRY(RemoteProcess::open(child.pid()));
  const SteadyClock clock;
  const auto range = TRY(range_of(child, process, kind, sparse));
  const auto tracker = TRY(make_uffd_tracker(process, {range}, nullptr, clock, {}));
  Board board(static_cast<std::uint32_t>(kBytes / kChunkSize));
  for (auto _ : state) {
    const auto tables = child.page_table_bytes();
    Status status;
    Result<HarvestStats> harvested;
    const double start = milliseconds_of([&] { status = tracker->start(~std::uint32_t{0}); });
    TRY(std::move(status));
    state.counters["tables_MiB"] = static_cast<double>(child.page_table_bytes() - tables) / 1048576.0;
    child.write(64, kData);
    const double harvest = milliseconds_of([&] { harvested = tracker->harvest(board); });
    if (TRY(std::move(harvested)).pages != kData / kPageSize / 64) return fail(ErrorKind::kIo, "found other pages");
    child.write(64, kData);
    const double last = milliseconds_of([&] { harvested = tracker->harvest_last(board); });
    if (TRY(std::move(harvested)).pages != kData / kPageSize / 64) return fail(ErrorKind::kIo, "found other pages");
    const double stop = milliseconds_of([&] { status = tracker->stop(); });
    TRY(std::move(status));
    state.counters["start_ms"] = start;
    state.counters["harvest_ms"] = harvest;
    state.counters["last_harvest_ms"] = last;
    state.counters["stop_ms"] = stop;
    state.SetIterationTime(start / 1e3);
  }
  return {};
}

}  // namespace

void add_sparse_benches() {
  for (const bool sparse : {true, false}) {
    for (const auto& [kind, name] : {std::pair{Kind::kMemfd, "memfd"}, std::pair{Kind::kPrivate, "private"}}) {
      const std::string title =
          std::string("tracker_1024GiB/") + name + (sparse ? "/only_what_is_there" : "/all_armed");
      benchmark::RegisterBenchmark(title.c_str(),
                                   [kind = kind, sparse](benchmark::State& state) {
                                     if (Status done = measure(state, kind, sparse); !done) {
                                       state.SkipWithError(done.error().message.c_str());
                                     }
                                   })
          ->UseManualTime()
          ->Iterations(1)
          ->Repetitions(sparse ? 3 : 1)
          ->Unit(benchmark::kMillisecond);
    }
  }
}

}  // namespace godwit::bench
