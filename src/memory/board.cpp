// The board's words, the count of what waits, and the epoch on which lanes sleep.
#include "memory/board.h"

namespace godwit {

Board::Board(std::uint32_t chunk_count)
    : chunk_count_(chunk_count), words_(std::make_unique<std::atomic<PageWord>[]>(chunk_count)) {}

void Board::post(ChunkIndex chunk, PageWord pages) noexcept {
  if (pages == 0) return;
  // Counted before they are posted, and those that waited already taken off again: so nobody can claim a page that has
  // not been counted, and the count never falls below what waits (or below 0).
  waiting_.fetch_add(page_count(pages), std::memory_order_relaxed);
  // The fetch_or is never skipped, not even when all pages wait already: it is what makes the poster's writes visible.
  const PageWord before = words_[chunk.value].fetch_or(pages, std::memory_order_release);
  const PageWord again = before & pages;
  if (again != 0) waiting_.fetch_sub(page_count(again), std::memory_order_relaxed);
}

PageWord Board::claim(ChunkIndex chunk) noexcept {
  std::atomic<PageWord>& word = words_[chunk.value];
  // Most words of a sweep are empty: reading them leaves their cache lines shared, and costs a fifth.
  if (word.load(std::memory_order_relaxed) == 0) return 0;
  const PageWord pages = word.exchange(0, std::memory_order_acquire);
  if (pages != 0) waiting_.fetch_sub(page_count(pages), std::memory_order_relaxed);
  return pages;
}

PageWord Board::withdraw(ChunkIndex chunk, PageWord pages) noexcept {
  std::atomic<PageWord>& word = words_[chunk.value];
  if ((word.load(std::memory_order_relaxed) & pages) == 0) return 0;
  const PageWord withdrawn = word.fetch_and(~pages, std::memory_order_acquire) & pages;
  if (withdrawn != 0) waiting_.fetch_sub(page_count(withdrawn), std::memory_order_relaxed);
  return withdrawn;
}

PageWord Board::peek(ChunkIndex chunk) const noexcept {
  return words_[chunk.value].load(std::memory_order_relaxed);
}

void Board::announce() noexcept {
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
}

void Board::await_epoch_after(std::uint64_t seen) const noexcept {
  epoch_.wait(seen, std::memory_order_acquire);
}

}  // namespace godwit
