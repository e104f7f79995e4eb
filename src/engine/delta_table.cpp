#include "engine/delta_table.h"

#include <new>

namespace godwit {

DeltaTable::DeltaTable(std::uint32_t chunk_count, const LaneShares& shares, std::size_t limit)
    : shares_(shares), room_(limit / sizeof(ChunkHashes)), entries_(shares.most(chunk_count)) {}

ChunkHashes* DeltaTable::open(ChunkIndex chunk, bool resent) {
  Entry& entry = entries_[shares_.index_of(chunk)];
  entry.resent |= resent;
  if (entry.hashes) return entry.hashes.get();
  if (room_ > 0) {
    // Not make_unique: clearing 8 KiB for each chunk would cost as much as hashing half of it.
    entry.hashes.reset(new (std::nothrow) ChunkHashes);
    --room_;
    any_ |= entry.hashes != nullptr;
  } else if (resent) {
    entry.hashes = take_from_another();
  }
  if (entry.hashes) entry.hashes->known = 0;
  return entry.hashes.get();
}

void DeltaTable::forget(ChunkIndex chunk, PageWord pages) noexcept {
  if (auto& hashes = entries_[shares_.index_of(chunk)].hashes) hashes->known &= ~pages;
}

/// The second chance: a chunk that was sent again since the hand last passed keeps its table this time.
std::unique_ptr<ChunkHashes> DeltaTable::take_from_another() noexcept {
  for (std::size_t steps = 0; any_ && steps < 2 * entries_.size(); ++steps) {
    Entry& entry = entries_[hand_];
    hand_ = (hand_ + 1) % entries_.size();
    if (!entry.hashes) continue;
    if (!entry.resent) return std::move(entry.hashes);
    entry.resent = false;
  }
  return nullptr;
}

}  // namespace godwit
