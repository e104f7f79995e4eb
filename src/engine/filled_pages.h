// Which pages of the sink may hold anything but zeros, and which are already present: a word per chunk each.
//
// A zero page that was never filled costs nothing: the hole stays a hole. A chunk's words belong to the lane that owns
// the chunk, and before the lanes start to the coordinator.
#pragma once

#include <vector>

#include "memory/page.h"

namespace godwit {

class FilledPages {
 public:
  explicit FilledPages(std::uint32_t chunk_count)
      : filled_(chunk_count), present_(chunk_count), stale_(chunk_count), received_(chunk_count) {}

  PageWord filled(ChunkIndex c) const noexcept { return filled_[c.value]; }
  void set_filled(ChunkIndex c, PageWord pages) noexcept { filled_[c.value] = pages; }

  /// Pages that have been made present: writing them can neither fault nor fail for want of memory.
  PageWord present(ChunkIndex c) const noexcept { return present_[c.value]; }
  void add_present(ChunkIndex c, PageWord pages) noexcept { present_[c.value] |= pages; }
  void drop_present(ChunkIndex c, PageWord pages) noexcept { present_[c.value] &= ~pages; }

  /// Pages that held something before the migration and that the source has said nothing about yet. What is left of
  /// them in the end is another VM's, and goes.
  PageWord stale(ChunkIndex c) const noexcept { return stale_[c.value]; }
  /// Before the lanes start.
  void set_stale(ChunkIndex c, PageWord pages) noexcept {
    stale_[c.value] = pages;
    any_stale_ |= pages != 0;
  }
  /// False: there never was one, in no chunk.
  bool any_stale() const noexcept { return any_stale_; }
  void drop_stale(ChunkIndex c, PageWord pages) noexcept { stale_[c.value] &= ~pages; }

  /// Pages whose content has come in this migration: what deltas and copies may refer to.
  PageWord received(ChunkIndex c) const noexcept { return received_[c.value]; }
  void add_received(ChunkIndex c, PageWord pages) noexcept { received_[c.value] |= pages; }
  void drop_received(ChunkIndex c, PageWord pages) noexcept { received_[c.value] &= ~pages; }

 private:
  std::vector<PageWord> filled_;
  std::vector<PageWord> present_;
  std::vector<PageWord> stale_;
  std::vector<PageWord> received_;
  bool any_stale_ = false;
};

}  // namespace godwit
