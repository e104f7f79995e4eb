// What the board costs: posting and claiming a GiB of guest, and sweeping a TiB in which nothing waits.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <string>

#include "bench/interleaved.h"
#include "engine/sweep_order.h"
#include "memory/board.h"

namespace {

using namespace godwit;

constexpr std::uint32_t kChunksPerGib = 4096;
constexpr std::uint32_t kChunksPerTib = kChunksPerGib * 1024;

void post_all(Board& board, PageWord pages) {
  for (std::uint32_t chunk = 0; chunk < board.chunk_count(); ++chunk) board.post({chunk}, pages);
}

std::uint64_t claim_all(Board& board) {
  std::uint64_t pages = 0;
  for (std::uint32_t chunk = 0; chunk < board.chunk_count(); ++chunk) pages += page_count(board.claim({chunk}));
  return pages;
}

/// One GiB: posted as a harvest does, whole words at a time.
void post(benchmark::State& state, PageWord pages) {
  Board board(kChunksPerGib);
  for (auto _ : state) {
    post_all(board, pages);
    state.PauseTiming();
    claim_all(board);
    state.ResumeTiming();
  }
}

/// One GiB of which every page waits already.
void post_again(benchmark::State& state) {
  Board board(kChunksPerGib);
  post_all(board, kAllPages);
  for (auto _ : state) post_all(board, kAllPages);
}

void claim(benchmark::State& state, PageWord pages) {
  Board board(kChunksPerGib);
  for (auto _ : state) {
    state.PauseTiming();
    post_all(board, pages);
    state.ResumeTiming();
    benchmark::DoNotOptimize(claim_all(board));
  }
}

/// The sweep of one lane of `lanes` over a TiB: 32 MiB of words, an eighth of a line each.
void sweep_empty(benchmark::State& state, bool spread) {
  const auto lanes = static_cast<std::uint32_t>(state.range(0));
  Board board(kChunksPerTib);
  for (auto _ : state) {
    PageWord found = 0;
    SweepOrder order(kChunksPerTib, 0, {lanes});
    while (const auto chunk = order.next(spread)) found |= board.claim(*chunk);
    benchmark::DoNotOptimize(found);
  }
  state.counters["per word"] =
      benchmark::Counter(static_cast<double>(kChunksPerTib / lanes),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

bool counts_right() {
  Board board(kChunksPerGib);
  post_all(board, 0xff);
  post_all(board, 0x1fe);
  return board.waiting() == kChunksPerGib * 9 && claim_all(board) == kChunksPerGib * 9 && board.waiting() == 0;
}

}  // namespace

int main(int argc, char** argv) {
  bench::initialize_interleaved(argc, argv, 7, "0.02");
  if (!counts_right()) {
    fmt::print(stderr, "the board miscounts\n");
    return 1;
  }
  benchmark::RegisterBenchmark("post a GiB/every page", post, kAllPages)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("post a GiB/a page per chunk", post, PageWord{1})->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("post a GiB/again", post_again)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("claim a GiB/every page", claim, kAllPages)->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("claim a GiB/nothing", claim, PageWord{0})->Unit(benchmark::kMicrosecond);
  for (const bool spread : {false, true}) {
    const std::string name =
        std::string("sweep a TiB, nothing waits, ") + (spread ? "spread" : "as it lies") + "/lanes";
    benchmark::RegisterBenchmark(name.c_str(), sweep_empty, spread)
        ->Arg(1)
        ->Arg(4)
        ->Arg(8)
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
