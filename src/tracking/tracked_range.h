// A stretch of the hypervisor's memory that is tracked.
#pragma once

#include <cstdint>
#include <memory>

#include "base/unique_fd.h"
#include "memory/page.h"

namespace godwit {

/// What tells which pages of a range are there, so that the rest need not be armed (armed_stretches.h).
enum class Populated {
  kUnknown,      ///< nothing does: all is armed
  kInPageTable,  ///< private and anonymous: what is there is in the process's page table, or swapped out from it
  kInFile,  ///< a shared mapping of a file whose holes are known by SEEK_DATA, whatever page tables have lost: tmpfs
};

/// Where a RAM block lies in the hypervisor's address space.
struct TrackedRange {
  std::uint64_t address = 0;  ///< page aligned
  std::uint64_t length = 0;   ///< bytes
  ChunkIndex first_chunk;     ///< of the block
  Populated populated = Populated::kUnknown;
  std::shared_ptr<const UniqueFd> file = {};  ///< for kInFile
  std::uint64_t file_offset = 0;              ///< of the range's first byte

  /// The last of them may be cut.
  std::uint64_t chunks() const noexcept { return (length + kChunkSize - 1) / kChunkSize; }
};

}  // namespace godwit
