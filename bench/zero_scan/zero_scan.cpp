// How fast each table of kernels finds uniform pages (zeros here) from L2 and from DRAM, and how fast it turns down
// pages that are not.
//
// All tables are interleaved in one run; their answers are compared before they are timed.
#include <benchmark/benchmark.h>
#include <fmt/core.h>
#include <sys/mman.h>

#include <cstdlib>
#include <string>

#include "bench/interleaved.h"
#include "memory/kernels.h"

namespace {

using namespace godwit;

constexpr std::size_t kCached = kChunkSize;                // stays in any L2
constexpr std::size_t kUncached = std::size_t{256} << 20;  // beyond any L3 that one core is likely to have to itself

/// Pages of memory, and not the kernel's one zero page mapped many times.
std::byte* make_pages(std::size_t size) {
  void* const pages = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (pages == MAP_FAILED) {
    fmt::print(stderr, "no memory for {} bytes\n", size);
    std::exit(1);
  }
  return static_cast<std::byte*>(pages);
}

void scan(benchmark::State& state, const Kernels* kernels, const std::byte* pages, std::size_t size) {
  for (auto _ : state) {
    for (std::size_t at = 0; at < size; at += kChunkSize) {
      benchmark::DoNotOptimize(kernels->uniform_pages(pages + at, kPagesPerChunk));
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * size));
  state.counters["per page"] =
      benchmark::Counter(static_cast<double>(size / kPageSize),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

bool answers_agree(std::span<const Kernels* const> tables, std::byte* pages) {
  for (std::size_t at = 0; at < kChunkSize; at += 509) {
    pages[at] = std::byte{1};
    const PageWord expected = ~(PageWord{1} << at / kPageSize);
    for (const Kernels* kernels : tables) {
      if (kernels->uniform_pages(pages, kPagesPerChunk) != expected) return false;
    }
    pages[at] = std::byte{0};
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  bench::initialize_interleaved(argc, argv);

  const HostProfile host = probe_host();
  const auto tables = kernels_for(host);
  std::byte* const cached = make_pages(kCached);
  if (!answers_agree(tables, cached)) {
    fmt::print(stderr, "the kernels give different answers\n");
    return 1;
  }
  std::byte* const zeros = make_pages(kUncached);
  std::byte* const others = make_pages(kUncached);
  for (std::size_t at = 0; at < kUncached; at += kPageSize) others[at + at / kPageSize % 64] = std::byte{1};
  for (const Kernels* kernels : tables) {
    const std::string name(kernels->name);
    benchmark::RegisterBenchmark((name + "/zeros in L2").c_str(), scan, kernels, cached, kCached);
    benchmark::RegisterBenchmark((name + "/zeros in DRAM").c_str(), scan, kernels, zeros, kUncached);
    benchmark::RegisterBenchmark((name + "/not zero, in DRAM").c_str(), scan, kernels, others, kUncached);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
