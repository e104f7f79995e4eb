// Pages as a list of chunks with their page words.
#pragma once

#include <cstdint>
#include <vector>

#include "memory/page.h"

namespace godwit {

/// Some pages of one chunk: an entry of a list.
struct PagesOfChunk {
  ChunkIndex chunk;
  PageWord pages = 0;
};

/// Adds pages [first, first + count) of the numbering that begins with page 0 of `origin`. Runs that are added in
/// ascending order share an entry per chunk.
void append_run(std::vector<PagesOfChunk>& list, ChunkIndex origin, std::uint64_t first, std::uint64_t count);

/// One entry per chunk, ascending.
void normalise(std::vector<PagesOfChunk>& list);

/// Of two normalised lists: the pages of `list` that `other` names too, and those that it does not.
struct SplitPages {
  std::vector<PagesOfChunk> in_both;
  std::vector<PagesOfChunk> only_in_list;
};
SplitPages split(const std::vector<PagesOfChunk>& list, const std::vector<PagesOfChunk>& other);

std::uint64_t count_pages(const std::vector<PagesOfChunk>& list) noexcept;

}  // namespace godwit
