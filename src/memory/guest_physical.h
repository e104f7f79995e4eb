// Guest-physical addresses: which of them are RAM, and the bytes there.
#pragma once

#include <cstdint>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/page_list.h"

namespace godwit {

/// A stretch of guest-physical addresses that is RAM.
struct PhysicalRange {
  std::uint64_t address = 0;  ///< guest-physical
  std::uint64_t length = 0;
  std::size_t block = 0;     ///< index into RamLayout::blocks()
  std::uint64_t offset = 0;  ///< of the range in the block
};

class GuestPhysical {
 public:
  /// `memory` outlives it. Ranges that do not lie in their block are left out.
  GuestPhysical(const GuestMemory& memory, std::vector<PhysicalRange> ranges);

  /// Copies [address, address + out.size()); false if not all of it is RAM.
  Result<bool> read(std::uint64_t address, MutableBytes out) const;

  /// Whether any byte of [start, end) is RAM.
  bool touches_ram(std::uint64_t start, std::uint64_t end) const noexcept;
  /// Adds the pages of RAM in [start, end) to `pages`.
  void append_pages(std::uint64_t start, std::uint64_t end, std::vector<PagesOfChunk>& pages) const;
  /// Adds all pages of RAM.
  void append_all(std::vector<PagesOfChunk>& pages) const;

 private:
  using Ranges = std::vector<PhysicalRange>;
  /// The first range that ends after `address`.
  Ranges::const_iterator first_after(std::uint64_t address) const noexcept;
  Status copy(const PhysicalRange& range, std::uint64_t address, MutableBytes out) const;

  const GuestMemory& memory_;
  Ranges ranges_;  ///< ascending
};

}  // namespace godwit
