// Sorts the pages of a claim by what the sink must be told of each, and puts together what is sent instead of them.
//
//   copy of the pages --> zero? --> one value? --> as the sink has it? --> some sub-blocks new? --> like another page?
//                                                  (not sent)              tail                     tail
//                     --> whole
//
// It compares with what this lane has sent before, in order, so the sink holds just that when the frame arrives.
#pragma once

#include <optional>

#include "engine/delta_table.h"
#include "engine/old_pages.h"
#include "engine/similar_pages.h"
#include "memory/kernels.h"
#include "wire/block.h"

namespace godwit {

/// Every page of the claim is in exactly one word, except for `xored`, and for `copies` that are in `delta` as well.
struct SortedPages {
  PageWord whole = 0;
  PageWord zero = 0;
  PageWord fill = 0;    ///< one 64-bit value repeated, not zero
  PageWord copies = 0;  ///< like a page of another chunk that this lane has sent; if in `delta`, some sub-blocks differ
  PageWord delta = 0;
  PageWord xored = 0;      ///< of `delta`
  PageWord unchanged = 0;  ///< as the sink has them
};

/// How much of a lane's work may go into saving bytes.
enum class Effort {
  kPlain,   ///< zero and one-value pages only; what is sent now cannot be referred to later
  kDeltas,  ///< all of it
};

struct DeltaSetting {
  const HashKey& key;          ///< random, new for each migration; copied. A reference, so that nobody forgets it
  std::size_t memory = 0;      ///< bytes that one lane may take; 0: no deltas
  bool keep_old_pages = true;  ///< false only to measure what they are worth
};

/// Owned by one lane.
class PageSorter {
 public:
  PageSorter(const Kernels& kernels, const DeltaSetting& setting, std::uint32_t chunk_count, const LaneShares& shares);

  /// `copy`: the pages, joined, aligned to 64 bytes. `resent`: of them, those that have been sent before. Appends to
  /// `tail` what is sent of pages that are not whole.
  SortedPages sort(ChunkIndex chunk, PageWord pages, PageWord resent, const std::byte* copy, Effort effort,
                   wire::TailBuilder& tail);
  /// Something of the pages is kept, or compared: so sort() and whoever encodes them have to see the same bytes.
  bool keeps(Effort effort) const noexcept { return effort == Effort::kDeltas && hashes_; }
  /// The sink is sent something else in these pages, which sort() has not seen.
  void forget(ChunkIndex chunk, PageWord pages);

 private:
  struct Claim;
  void sort_one(Claim& claim, unsigned page, const std::byte* bytes);
  void make_delta(Claim& claim, unsigned page, const std::byte* bytes, const std::byte* old, SubBlockMask changed);
  bool add_as_copy(Claim& claim, unsigned page, const std::byte* bytes, const PageHashes& hashes);
  const PageHashes* sent_hashes(const wire::PageReference& page) const;

  const Kernels& kernels_;
  HashKey key_;
  std::optional<DeltaTable> hashes_;
  std::optional<OldPages> old_pages_;
  std::optional<SimilarPages> similar_pages_;
};

}  // namespace godwit
