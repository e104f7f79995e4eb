#include "engine/page_sorter.h"

#include <algorithm>
#include <cstring>

namespace godwit {

namespace {

// Shares of the memory: hashes first, because each pays for 32 times its size; a page needs few bytes to be found again
// by.
constexpr std::size_t kHashShare = 6;     // of 8
constexpr std::size_t kSimilarShare = 1;  // of 16

std::uint64_t first_word(const std::byte* page) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, page, sizeof word);
  return word;
}

/// XOR pays where most bytes stay the same; where all are new it only hides what they have in common.
bool mostly_zeros(const std::byte* bytes, std::size_t size) noexcept {
  const auto zeros = std::count(bytes, bytes + size, std::byte{0});
  return static_cast<std::size_t>(zeros) * 2 > size;
}

}  // namespace

/// The pages that sort() is at work on.
struct PageSorter::Claim {
  ChunkIndex chunk;
  PageWord resent;
  ChunkHashes* hashes;
  wire::TailBuilder& tail;
  SortedPages sorted;
};

PageSorter::PageSorter(const Kernels& kernels, const DeltaSetting& setting, std::uint32_t chunk_count,
                       const LaneShares& shares)
    : kernels_(kernels), key_(setting.key) {
  if (setting.memory == 0) return;
  // More memory than a lane's chunks fill is not taken, whatever the limit.
  const std::size_t chunks = shares.most(chunk_count);
  const std::size_t for_similar = std::min(SimilarPages::all(chunks), setting.memory / 16 * kSimilarShare);
  const std::size_t for_hashes =
      std::min(chunks * sizeof(ChunkHashes), (setting.memory - for_similar) / 8 * kHashShare);
  const std::size_t for_old_pages = std::min(OldPages::all(chunks), setting.memory - for_similar - for_hashes);
  hashes_.emplace(chunk_count, shares, for_hashes);
  similar_pages_.emplace(for_similar);
  old_pages_.emplace(setting.keep_old_pages ? for_old_pages : 0);
}

SortedPages PageSorter::sort(ChunkIndex chunk, PageWord pages, PageWord resent, const std::byte* copy, Effort effort,
                             wire::TailBuilder& tail) {
  const auto count = static_cast<unsigned>(page_count(pages));
  const PageWord uniform = kernels_.uniform_pages(copy, count);
  // A chunk of nothing but zeros needs no table.
  const bool deltas = keeps(effort) && page_count(uniform) != count;
  Claim claim{chunk, resent, deltas ? hashes_->open(chunk, resent != 0) : nullptr, tail, {}};
  const std::byte* bytes = copy;
  PageWord packed = 1;
  PageWord forgotten = 0;
  for_each_page(pages, [&](unsigned page) {
    const PageWord bit = PageWord{1} << page;
    if ((uniform & packed) != 0) {
      forgotten |= bit;
      const auto value = first_word(bytes);
      (value == 0 ? claim.sorted.zero : claim.sorted.fill) |= bit;
      if (value != 0) tail.add_fill(value);
    } else if (claim.hashes != nullptr) {
      sort_one(claim, page, bytes);
    } else {
      forgotten |= bit;
      claim.sorted.whole |= bit;
    }
    bytes += kPageSize;
    packed <<= 1;
  });
  forget(chunk, forgotten);
  return claim.sorted;
}

void PageSorter::forget(ChunkIndex chunk, PageWord pages) {
  if (pages == 0 || !hashes_) return;
  hashes_->forget(chunk, pages);
  old_pages_->forget(chunk, pages);
}

void PageSorter::sort_one(Claim& claim, unsigned page, const std::byte* bytes) {
  const PageWord bit = PageWord{1} << page;
  PageHashes& hashes = claim.hashes->pages[page];
  const bool known = (claim.hashes->known & bit) != 0;
  const std::byte* const old = known ? old_pages_->find(claim.chunk, page) : nullptr;
  SubBlockMask changed = kAllSubBlocks;
  if (known) {
    changed = kernels_.rehash_page(bytes, key_, hashes);
  } else {
    kernels_.hash_page(bytes, key_, hashes);
    claim.hashes->known |= bit;
  }
  // Where the old bytes are at hand, no hash needs to be trusted.
  if (old != nullptr) changed = kernels_.changed_sub_blocks(bytes, old);
  if (changed == 0) {
    claim.sorted.unchanged |= bit;
    return;
  }
  if (changed != kAllSubBlocks) {
    make_delta(claim, page, bytes, old, changed);
    old_pages_->store(claim.chunk, page, bytes);
    return;
  }
  if (!add_as_copy(claim, page, bytes, hashes)) claim.sorted.whole |= bit;
  // A page that was sent before is likely to be sent once more.
  if ((claim.resent & bit) != 0) {
    old_pages_->store(claim.chunk, page, bytes);
  } else {
    old_pages_->forget(claim.chunk, bit);
  }
}

void PageSorter::make_delta(Claim& claim, unsigned page, const std::byte* bytes, const std::byte* old,
                            SubBlockMask changed) {
  const PageWord bit = PageWord{1} << page;
  std::byte* const out = claim.tail.sub_blocks();
  if (old != nullptr) {
    kernels_.gather_xor(bytes, old, changed, out);
    if (mostly_zeros(out, sub_block_bytes(changed))) claim.sorted.xored |= bit;
  }
  if ((claim.sorted.xored & bit) == 0) kernels_.gather(bytes, changed, out);
  claim.sorted.delta |= bit;
  claim.tail.add_delta(changed);
}

/// Appends the page as a copy of one that has been sent, if there is one like it.
bool PageSorter::add_as_copy(Claim& claim, unsigned page, const std::byte* bytes, const PageHashes& hashes) {
  const auto similar = similar_pages_->swap(SimilarPages::signature(hashes), {claim.chunk, page});
  // A frame may not refer to its own chunk, of which the sink has not got these pages yet.
  if (!similar || similar->chunk == claim.chunk) return false;
  const PageHashes* const there = sent_hashes(*similar);
  if (there == nullptr) return false;
  SubBlockMask differs = 0;
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
    if ((*there)[i] != hashes[i]) differs |= static_cast<SubBlockMask>(1U << i);
  }
  if (differs == kAllSubBlocks) return false;  // its signature only
  claim.sorted.copies |= PageWord{1} << page;
  claim.tail.add_copy(*similar);
  if (differs != 0) make_delta(claim, page, bytes, nullptr, differs);
  return true;
}

/// What this lane knows of a page that it has sent.
const PageHashes* PageSorter::sent_hashes(const wire::PageReference& page) const {
  const ChunkHashes* const chunk = hashes_->find(page.chunk);
  if (chunk == nullptr || (chunk->known & (PageWord{1} << page.page)) == 0) return nullptr;
  return &chunk->pages[page.page];
}

}  // namespace godwit
