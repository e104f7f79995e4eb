// What a tracker has posted, page by page.
#pragma once

#include <cstdint>
#include <set>

#include "memory/board.h"

namespace godwit::testing {

using Pages = std::set<std::uint64_t>;

/// Takes all pages off the board, counted from chunk 0.
inline Pages claim_all(Board& board) {
  Pages pages;
  for (std::uint32_t chunk = 0; chunk < board.chunk_count(); ++chunk) {
    for_each_page(board.claim(ChunkIndex{chunk}),
                  [&](unsigned page) { pages.insert(chunk * std::uint64_t{kPagesPerChunk} + page); });
  }
  return pages;
}

}  // namespace godwit::testing
