// What the sink holds of one lane's pages, as keyed hashes of their sub-blocks: what a delta is made against.
//
// A hash table of a chunk costs an eighth of a page's bytes per four pages, 3.1 % of the RAM it speaks of. The limit is
// kept: while there is room, every chunk that is sent gets a table; after that only chunks that are sent again do, in
// the place of one that was not.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/lane_shares.h"
#include "memory/kernels.h"
#include "memory/page.h"

namespace godwit {

/// The hashes of a chunk's pages. Those of a page mean something only if `known` has it.
struct ChunkHashes {
  PageWord known = 0;  ///< pages that the sink holds exactly as hashed
  std::array<PageHashes, kPagesPerChunk> pages;
};

/// Owned by one lane, for its own chunks.
class DeltaTable {
 public:
  /// `limit` in bytes, for the hashes; what a chunk's pointer takes (16 bytes) comes on top.
  DeltaTable(std::uint32_t chunk_count, const LaneShares& shares, std::size_t limit);

  /// The table of a chunk, which may be new and know nothing; null if there is no room for it. `resent`: pages of it
  /// have been sent before, so it is worth another chunk's place.
  ChunkHashes* open(ChunkIndex chunk, bool resent);
  /// The table of a chunk, if it has one.
  const ChunkHashes* find(ChunkIndex chunk) const noexcept { return entries_[shares_.index_of(chunk)].hashes.get(); }
  /// The sink holds something else in these pages now.
  void forget(ChunkIndex chunk, PageWord pages) noexcept;

 private:
  struct Entry {
    std::unique_ptr<ChunkHashes> hashes;
    bool resent = false;  ///< since the hand last passed
  };
  std::unique_ptr<ChunkHashes> take_from_another() noexcept;

  LaneShares shares_;
  std::size_t room_;  ///< tables that may still be made
  bool any_ = false;  ///< one was made
  std::vector<Entry> entries_;
  std::size_t hand_ = 0;  ///< the next entry that may lose its table
};

}  // namespace godwit
