// The board: the pages that wait to be sent, one atomic word per chunk.
//
//   tracker --post (fetch_or)--> | word | word | word | ... --claim (exchange 0)--> lanes
//
// What a lane claimed nobody else sends; a page dirtied again before it was claimed simply stays posted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "memory/page.h"

namespace godwit {

class Board {
 public:
  explicit Board(std::uint32_t chunk_count);

  /// Adds pages to those that wait. Any thread. Wakes nobody: call announce() after a batch.
  void post(ChunkIndex chunk, PageWord pages) noexcept;
  /// Takes all pages of the chunk that wait; 0 if none. Everything written before the post is visible after the claim.
  PageWord claim(ChunkIndex chunk) noexcept;
  /// Takes those of the pages named that wait off the board without their being sent, and gives them.
  PageWord withdraw(ChunkIndex chunk, PageWord pages) noexcept;
  /// The pages of a chunk that wait, left where they are.
  PageWord peek(ChunkIndex chunk) const noexcept;

  std::uint32_t chunk_count() const noexcept { return chunk_count_; }
  /// Pages that wait in all. Exact when nobody posts or claims at the same time, and never too few.
  std::uint64_t waiting() const noexcept { return waiting_.load(std::memory_order_relaxed); }

  /// Lanes sleep here. A lane reads epoch(), sweeps its chunks, and if it found nothing waits for another epoch.
  std::uint64_t epoch() const noexcept { return epoch_.load(std::memory_order_acquire); }
  void announce() noexcept;
  void await_epoch_after(std::uint64_t seen) const noexcept;

 private:
  std::uint32_t chunk_count_;
  std::unique_ptr<std::atomic<PageWord>[]> words_;
  alignas(64) std::atomic<std::uint64_t> waiting_{0};
  alignas(64) std::atomic<std::uint64_t> epoch_{0};
};

}  // namespace godwit
