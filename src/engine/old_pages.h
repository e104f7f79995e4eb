// The bytes of the pages that are sent again and again, as the sink holds them: XORed with what was there, a changed
// sub-block is mostly zeros, and compresses to almost nothing.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "memory/page.h"

namespace godwit {

/// Owned by one lane. Keeps what was stored last; when full, what was stored first goes.
class OldPages {
 public:
  /// `limit` in bytes, bookkeeping included. Memory is taken as pages come; none at all if the system gives none.
  explicit OldPages(std::size_t limit);
  ~OldPages();
  OldPages(const OldPages&) = delete;
  OldPages& operator=(const OldPages&) = delete;

  /// Bytes for all pages of so many chunks.
  static std::size_t all(std::size_t chunks) noexcept;

  /// A page's bytes as last stored, aligned to 64; null if there are none. Valid until they are stored again.
  const std::byte* find(ChunkIndex chunk, unsigned page) const noexcept;
  /// Where memory runs out, the page is forgotten instead.
  void store(ChunkIndex chunk, unsigned page, const std::byte* bytes) noexcept;
  void forget(ChunkIndex chunk, PageWord pages) noexcept;

 private:
  std::byte* bytes_of(std::uint32_t slot) const noexcept { return storage_ + slot * kPageSize; }
  std::uint32_t take_slot();

  std::uint32_t slots_;
  std::byte* storage_ = nullptr;       ///< address space for all slots
  std::vector<std::uint64_t> owners_;  ///< of each slot that was ever in use: the page's number
  std::unordered_map<std::uint64_t, std::uint32_t> where_;
  std::uint32_t next_ = 0;  ///< the slot to take next once all have been in use
};

}  // namespace godwit
