// Pages, chunks and page words: the units in which everything here counts.
//
//   guest RAM   | chunk 0 (64 pages, 256 KiB) | chunk 1 | ...
//   page word   bit i of a 64-bit word is page i of its chunk
#pragma once

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace godwit {

inline constexpr std::size_t kPageSize = 4096;
inline constexpr std::size_t kPagesPerChunk = 64;
inline constexpr std::size_t kChunkSize = kPageSize * kPagesPerChunk;

/// A set of pages of one chunk.
using PageWord = std::uint64_t;
inline constexpr PageWord kAllPages = ~PageWord{0};

/// A chunk's number across all RAM blocks of a VM. 32 bits count 1 PiB of RAM.
struct ChunkIndex {
  std::uint32_t value = 0;
  auto operator<=>(const ChunkIndex&) const = default;
};

inline std::size_t page_count(PageWord word) noexcept {
  return static_cast<std::size_t>(std::popcount(word));
}

/// Calls visit(page number 0..63) for each page of the word, in order.
template <typename Visit>
void for_each_page(PageWord word, Visit&& visit) {
  for (; word != 0; word &= word - 1) visit(static_cast<unsigned>(std::countr_zero(word)));
}

/// Calls visit(first page, number of pages) for each run of neighbouring pages of the word, in order.
template <typename Visit>
void for_each_run(PageWord word, Visit&& visit) {
  while (word != 0) {
    const auto first = static_cast<unsigned>(std::countr_zero(word));
    const auto length = static_cast<unsigned>(std::countr_one(word >> first));
    visit(first, length);
    if (first + length == kPagesPerChunk) return;
    word &= ~PageWord{0} << (first + length);
  }
}

/// Neighbouring pages, counted from the first word of a sequence of page words.
struct PageRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// The runs of a sequence of page words, in order; they go on from word to word.
inline std::vector<PageRun> runs_of(std::span<const PageWord> words) {
  std::vector<PageRun> runs;
  for (std::size_t i = 0; i < words.size(); ++i) {
    for_each_run(PageWord{words[i]}, [&](unsigned start, unsigned length) {
      const std::uint64_t first = i * kPagesPerChunk + start;
      if (!runs.empty() && runs.back().first + runs.back().count == first) {
        runs.back().count += length;
      } else {
        runs.push_back({first, length});
      }
    });
  }
  return runs;
}

/// Takes the pages [first, first + count), counted from the first word, out of a sequence of page words.
inline void drop_pages(std::span<PageWord> words, std::uint64_t first, std::uint64_t count) noexcept {
  while (count != 0) {
    const std::uint64_t bit = first % kPagesPerChunk;
    const std::uint64_t here = count < kPagesPerChunk - bit ? count : kPagesPerChunk - bit;
    words[first / kPagesPerChunk] &= ~((kAllPages >> (kPagesPerChunk - here)) << bit);
    first += here;
    count -= here;
  }
}

/// Adds the pages [first, first + count), counted from the first word, to a sequence of page words. All must lie in it.
inline void add_pages(std::span<PageWord> words, std::uint64_t first, std::uint64_t count) noexcept {
  while (count != 0) {
    const std::uint64_t bit = first % kPagesPerChunk;
    const std::uint64_t here = count < kPagesPerChunk - bit ? count : kPagesPerChunk - bit;
    words[first / kPagesPerChunk] |= (kAllPages >> (kPagesPerChunk - here)) << bit;
    first += here;
    count -= here;
  }
}

}  // namespace godwit
