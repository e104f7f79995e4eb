// Pages, chunks and page words: the units in which everything here counts.
//
//   guest RAM   | chunk 0 (64 pages, 256 KiB) | chunk 1 | ...
//   page word   bit i of a 64-bit word is page i of its chunk
#pragma once

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

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

/// The number of its first page; of no page it is 64.
inline unsigned lowest_page(PageWord word) noexcept {
  return static_cast<unsigned>(std::countr_zero(word));
}

/// Pages that lie one after the other; one page at least.
inline bool is_one_run(PageWord word) noexcept {
  if (word == 0) return false;
  const PageWord run = word >> lowest_page(word);
  return (run & (run + 1)) == 0;
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

/// Gives the runs of a sequence of page words, one after the other; they go on from word to word. Pages of runs that it
/// has given may be changed meanwhile.
class PageRuns {
 public:
  explicit PageRuns(std::span<const PageWord> words) noexcept : words_(words) {}

  std::optional<PageRun> next() noexcept {
    const std::uint64_t first = seek(at_, 0);
    if (first == words_.size() * kPagesPerChunk) return std::nullopt;
    at_ = seek(first, kAllPages);
    return PageRun{first, at_ - first};
  }

 private:
  /// The first page from `at` on that is in its word; with all pages to be flipped, that is not.
  std::uint64_t seek(std::uint64_t at, PageWord flipped) const noexcept {
    while (at < words_.size() * kPagesPerChunk) {
      const PageWord rest = (words_[at / kPagesPerChunk] ^ flipped) >> at % kPagesPerChunk;
      if (rest != 0) return at + static_cast<unsigned>(std::countr_zero(rest));
      at = (at / kPagesPerChunk + 1) * kPagesPerChunk;
    }
    return at;
  }

  std::span<const PageWord> words_;
  std::uint64_t at_ = 0;
};

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
