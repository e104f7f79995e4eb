// How fast each table of kernels hashes pages by sub-blocks, with the lane's copy of a chunk in L2: what deltas cost in
// front of a codec. Beside it what else a lane does to the copy, and the question whether to do two of them in one
// pass.
//
//   hash        hash_page over the 64 pages of a chunk
//   rehash      rehash_page, none changed
//   compare     changed_sub_blocks with an equal copy, also in L2
//   gather      gather of every other sub-block
//   two passes  uniform_pages over the chunk, then hash_page for the pages that are not
//   one pass    the same page by page: what the check has read the hash finds in L1
//   copy        memcpy of the chunk, as a yardstick
//   library     XXH3 of 64 bits with a secret, by libxxhash and what it finds best for this host: what a hash costs of
//               which no bound for collisions is known
//
// The content is that of files, with every fourth page zeros; all tables are interleaved in one run, and their answers
// are compared before they are timed.
#include <benchmark/benchmark.h>
#include <fmt/core.h>
#define XXH_DISPATCH_DISABLE_REPLACE  // leave both there: those for any host, and those that choose
#include <xxh_x86dispatch.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "bench/interleaved.h"
#include "memory/kernels.h"

namespace {

using namespace godwit;

constexpr SubBlockMask kEveryOther = 0x5555;

struct Chunk {
  alignas(64) std::byte pages[kChunkSize];
  alignas(64) std::byte copy[kChunkSize];
  alignas(64) std::byte out[kChunkSize];
  std::array<PageHashes, kPagesPerChunk> hashes;
  HashKey key;

  const std::byte* page(std::size_t i) const { return pages + i * kPageSize; }
};

/// The program's own bytes, because they are code, tables and text as guests have them.
bool fill(Chunk& chunk, const char* program) {
  std::ifstream file(program, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(kPageSize));  // after the headers
  file.read(reinterpret_cast<char*>(chunk.pages), kChunkSize);
  if (static_cast<std::size_t>(file.gcount()) != kChunkSize) return false;
  for (std::size_t i = 0; i < kPagesPerChunk; i += 4) std::memset(chunk.pages + i * kPageSize, 0, kPageSize);
  std::memcpy(chunk.copy, chunk.pages, kChunkSize);
  std::uint64_t seed = 1;
  for (auto& byte : chunk.key.bytes()) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<std::byte>(seed >> 56);
  }
  return true;
}

void hash(const Kernels& kernels, Chunk& chunk) {
  for (std::size_t i = 0; i < kPagesPerChunk; ++i) kernels.hash_page(chunk.page(i), chunk.key, chunk.hashes[i]);
}

void rehash(const Kernels& kernels, Chunk& chunk) {
  for (std::size_t i = 0; i < kPagesPerChunk; ++i) {
    benchmark::DoNotOptimize(kernels.rehash_page(chunk.page(i), chunk.key, chunk.hashes[i]));
  }
}

void compare(const Kernels& kernels, Chunk& chunk) {
  for (std::size_t i = 0; i < kPagesPerChunk; ++i) {
    benchmark::DoNotOptimize(kernels.changed_sub_blocks(chunk.page(i), chunk.copy + i * kPageSize));
  }
}

void gather(const Kernels& kernels, Chunk& chunk) {
  std::byte* out = chunk.out;
  for (std::size_t i = 0; i < kPagesPerChunk; ++i) out = kernels.gather(chunk.page(i), kEveryOther, out);
}

void two_passes(const Kernels& kernels, Chunk& chunk) {
  const PageWord uniform = kernels.uniform_pages(chunk.pages, kPagesPerChunk);
  for_each_page(~uniform, [&](unsigned i) { kernels.hash_page(chunk.page(i), chunk.key, chunk.hashes[i]); });
}

void one_pass(const Kernels& kernels, Chunk& chunk) {
  for (std::size_t i = 0; i < kPagesPerChunk; ++i) {
    if (kernels.uniform_pages(chunk.page(i), 1) != 0) continue;
    kernels.hash_page(chunk.page(i), chunk.key, chunk.hashes[i]);
  }
}

void copy(const Kernels&, Chunk& chunk) {
  std::memcpy(chunk.out, chunk.pages, kChunkSize);
}

constexpr std::size_t kSecretSize = 192;

std::uint64_t library_hash(const std::byte* sub_block, Chunk& chunk) {
  return XXH3_64bits_withSecret_dispatch(sub_block, kSubBlockSize, chunk.key.bytes().data(), kSecretSize);
}

void library(const Kernels&, Chunk& chunk) {
  for (std::size_t i = 0; i < kPagesPerChunk; ++i) {
    for (std::size_t b = 0; b < kSubBlocksPerPage; ++b) {
      chunk.hashes[i][b] = library_hash(chunk.page(i) + b * kSubBlockSize, chunk);
    }
  }
}

using Step = void (*)(const Kernels&, Chunk&);

void measure(benchmark::State& state, Step step, const Kernels* kernels, Chunk* chunk) {
  hash(*kernels, *chunk);  // what rehash is to find
  for (auto _ : state) {
    step(*kernels, *chunk);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kChunkSize));
  state.counters["per page"] =
      benchmark::Counter(kPagesPerChunk, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

bool answers_agree(std::span<const Kernels* const> tables, Chunk& chunk) {
  hash(*tables.front(), chunk);
  const auto expected = chunk.hashes;
  for (const Kernels* const kernels : tables) {
    for (std::size_t i = 0; i < kPagesPerChunk; ++i) {
      PageHashes hashes = expected[i];
      if (kernels->rehash_page(chunk.page(i), chunk.key, hashes) != 0) return false;
      kernels->hash_page(chunk.page(i), chunk.key, hashes);
      if (hashes != expected[i]) return false;
      if (kernels->changed_sub_blocks(chunk.page(i), chunk.copy + i * kPageSize) != 0) return false;
      std::byte* const end = kernels->gather(chunk.page(i), kEveryOther, chunk.out);
      for (std::size_t b = 0; chunk.out + b * kSubBlockSize != end; ++b) {
        const std::byte* const block = chunk.page(i) + 2 * b * kSubBlockSize;
        if (std::memcmp(chunk.out + b * kSubBlockSize, block, kSubBlockSize) != 0) return false;
      }
    }
  }
  for (std::size_t at = 0; at < kChunkSize; at += kSubBlockSize) {
    const std::byte* const block = chunk.pages + at;
    const auto expected_of_it = XXH3_64bits_withSecret(block, kSubBlockSize, chunk.key.bytes().data(), kSecretSize);
    if (library_hash(block, chunk) != expected_of_it) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  bench::initialize_interleaved(argc, argv);

  const HostProfile host = probe_host();
  const auto tables = kernels_for(host);
  const auto chunk = std::make_unique<Chunk>();
  if (!fill(*chunk, "/proc/self/exe")) {
    fmt::print(stderr, "this program is too small to be its own sample\n");
    return 1;
  }
  if (!answers_agree(tables, *chunk)) {
    fmt::print(stderr, "the kernels give wrong answers\n");
    return 1;
  }
  constexpr std::pair<const char*, Step> kSteps[] = {
      {"hash", hash},     {"rehash", rehash},         {"compare", compare},
      {"gather", gather}, {"two passes", two_passes}, {"one pass", one_pass}};
  for (const Kernels* kernels : tables) {
    for (const auto& [name, step] : kSteps) {
      benchmark::RegisterBenchmark(fmt::format("{}/{}", kernels->name, name).c_str(), measure, step, kernels,
                                   chunk.get());
    }
  }
  benchmark::RegisterBenchmark("library/hash", measure, library, tables.front(), chunk.get());
  benchmark::RegisterBenchmark("copy", measure, copy, tables.front(), chunk.get());
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
