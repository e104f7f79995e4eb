// Which pages the sink holds with content: a word per chunk. Each chunk's lane writes it, the coordinator reads it.
#pragma once

#include <atomic>
#include <memory>

#include "memory/page.h"

namespace godwit {

class SentPages {
 public:
  explicit SentPages(std::uint32_t chunk_count) : words_(std::make_unique<std::atomic<PageWord>[]>(chunk_count)) {}
  PageWord of(ChunkIndex chunk) const noexcept { return words_[chunk.value].load(std::memory_order_relaxed); }
  void set(ChunkIndex chunk, PageWord pages) noexcept { words_[chunk.value].store(pages, std::memory_order_relaxed); }

 private:
  std::unique_ptr<std::atomic<PageWord>[]> words_;
};

}  // namespace godwit
