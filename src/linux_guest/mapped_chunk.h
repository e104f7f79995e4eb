// A chunk of guest RAM to be read in place.
#pragma once

#include "memory/guest_memory.h"

namespace godwit::linux_guest {

/// Not where huge pages back it: no file says where their holes are, and one look at a hole clears 2 MiB and keeps
/// them.
inline std::optional<MutableBytes> map_small_pages(GuestMemory& memory, ChunkIndex chunk) noexcept {
  const auto& layout = memory.layout();
  if (layout.blocks()[layout.locate(chunk).block].page_size != kPageSize) return std::nullopt;
  return memory.map(chunk);
}

}  // namespace godwit::linux_guest
