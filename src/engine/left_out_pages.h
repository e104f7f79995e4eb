// Pages that were taken off the board because the guest had them free: a word per chunk. The coordinator adds them; the
// lane that sends one after all, because it was written since, drops it.
#pragma once

#include <atomic>
#include <memory>

#include "memory/page.h"

namespace godwit {

class LeftOutPages {
 public:
  explicit LeftOutPages(std::uint32_t chunk_count) : words_(std::make_unique<std::atomic<PageWord>[]>(chunk_count)) {}
  PageWord of(ChunkIndex chunk) const noexcept { return words_[chunk.value].load(std::memory_order_relaxed); }
  void add(ChunkIndex chunk, PageWord pages) noexcept {
    words_[chunk.value].fetch_or(pages, std::memory_order_relaxed);
  }
  void drop(ChunkIndex chunk, PageWord pages) noexcept {
    if ((of(chunk) & pages) != 0) words_[chunk.value].fetch_and(~pages, std::memory_order_relaxed);
  }

 private:
  std::unique_ptr<std::atomic<PageWord>[]> words_;
};

}  // namespace godwit
