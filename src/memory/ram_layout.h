// The RAM blocks of one VM, and one chunk numbering across them.
//
// Each block begins at a chunk of its own; a block whose size is not a multiple of 256 KiB ends in a chunk that is
// partly valid. Both sides of a migration build the same numbering from the same list of names and sizes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "memory/page.h"

namespace godwit {

struct RamBlock {
  std::string name;                     ///< as QEMU names it: "pc.ram", "ram0"
  std::uint64_t size = 0;               ///< bytes, a multiple of 4 KiB
  std::uint64_t page_size = kPageSize;  ///< bytes per page of what backs it: 4096, or a huge page's size
  ChunkIndex first_chunk;               ///< set by RamLayout::make
};

class RamLayout {
 public:
  RamLayout() = default;
  /// Numbers the blocks in the order given. kInvalidArgument: no block, no name, a name twice, a size of 0, not a
  /// multiple of 4 KiB, or 1 PiB and more in all; a page size that is not a power of two from 4 KiB up.
  static Result<RamLayout> make(std::vector<RamBlock> blocks);

  std::span<const RamBlock> blocks() const noexcept { return blocks_; }
  std::uint32_t chunk_count() const noexcept { return chunk_count_; }
  std::uint64_t bytes() const noexcept { return bytes_; }

  struct Place {
    std::size_t block = 0;     ///< index into blocks()
    std::uint64_t offset = 0;  ///< bytes from the block's start
  };
  /// Where a chunk lies. The chunk must be below chunk_count().
  Place locate(ChunkIndex chunk) const noexcept;
  /// The pages of a chunk that exist: all but in the last chunk of a block.
  PageWord valid_pages(ChunkIndex chunk) const noexcept;
  /// The chunk that holds this byte of this block.
  ChunkIndex chunk_at(std::size_t block, std::uint64_t offset) const noexcept;

 private:
  std::vector<RamBlock> blocks_;
  std::uint32_t chunk_count_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace godwit
