// Which pages of the sink may hold anything but zeros, and which are already present: a word per chunk each.
//
// A zero page that was never filled costs nothing: the hole stays a hole.
#pragma once

#include <atomic>
#include <memory>

#include "memory/page.h"

namespace godwit {

class FilledPages {
 public:
  explicit FilledPages(std::uint32_t chunk_count)
      : filled_(std::make_unique<std::atomic<PageWord>[]>(chunk_count)),
        present_(std::make_unique<std::atomic<PageWord>[]>(chunk_count)) {}

  PageWord filled(ChunkIndex c) const noexcept { return filled_[c.value].load(std::memory_order_relaxed); }
  void set_filled(ChunkIndex c, PageWord pages) noexcept { filled_[c.value].store(pages, std::memory_order_relaxed); }

  /// Pages that have been made present: writing them can neither fault nor fail for want of memory.
  PageWord present(ChunkIndex c) const noexcept { return present_[c.value].load(std::memory_order_acquire); }
  void add_present(ChunkIndex c, PageWord pages) noexcept {
    present_[c.value].fetch_or(pages, std::memory_order_release);
  }
  void drop_present(ChunkIndex c, PageWord pages) noexcept {
    present_[c.value].fetch_and(~pages, std::memory_order_release);
  }

 private:
  std::unique_ptr<std::atomic<PageWord>[]> filled_;
  std::unique_ptr<std::atomic<PageWord>[]> present_;
};

}  // namespace godwit
