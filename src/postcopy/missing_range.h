// Where a RAM block of which pages are missing lies in the hypervisor's address space.
#pragma once

#include <cstdint>
#include <string>

#include "base/unique_fd.h"
#include "memory/page.h"

namespace godwit {

struct MissingRange {
  std::string name;  ///< of the block
  std::uint64_t address = 0;
  std::uint64_t length = 0;     ///< bytes
  std::uint64_t page_size = 0;  ///< bytes: kPageSize, or that of huge pages of hugetlbfs
  ChunkIndex first_chunk;
  UniqueFd file = {};             ///< of a shared mapping; else it is private
  std::uint64_t file_offset = 0;  ///< of the range's first byte

  bool is_huge() const noexcept { return page_size > kPageSize; }
  /// Whole pages.
  std::uint64_t mapped_length() const noexcept { return (length + page_size - 1) / page_size * page_size; }
  std::uint32_t chunks() const noexcept { return static_cast<std::uint32_t>((length + kChunkSize - 1) / kChunkSize); }
};

}  // namespace godwit
