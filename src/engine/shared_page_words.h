// A page word per chunk, shared between the lane that owns the chunk and the coordinator. Two facts are kept in it:
//
//   sent      pages that the sink holds with content: the lane says so, the coordinator reads it
//   left out  pages that were taken off the board because the guest had them free: the coordinator adds them, the lane
//             that sends one after all, because it was written since, drops it
#pragma once

#include <atomic>
#include <memory>

#include "memory/page.h"

namespace godwit {

class SharedPageWords {
 public:
  explicit SharedPageWords(std::uint32_t chunk_count)
      : words_(std::make_unique<std::atomic<PageWord>[]>(chunk_count)) {}
  PageWord of(ChunkIndex chunk) const noexcept { return words_[chunk.value].load(std::memory_order_relaxed); }
  /// For the only writer.
  void set(ChunkIndex chunk, PageWord pages) noexcept { words_[chunk.value].store(pages, std::memory_order_relaxed); }
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
