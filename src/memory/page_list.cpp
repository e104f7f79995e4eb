#include "memory/page_list.h"

#include <algorithm>

namespace godwit {

void append_run(std::vector<PagesOfChunk>& list, ChunkIndex origin, std::uint64_t first, std::uint64_t count) {
  while (count > 0) {
    const ChunkIndex chunk{origin.value + static_cast<std::uint32_t>(first / kPagesPerChunk)};
    const std::uint64_t bit = first % kPagesPerChunk;
    const std::uint64_t length = std::min<std::uint64_t>(count, kPagesPerChunk - bit);
    const PageWord pages = (length == kPagesPerChunk ? kAllPages : (PageWord{1} << length) - 1) << bit;
    if (!list.empty() && list.back().chunk == chunk) {
      list.back().pages |= pages;
    } else {
      list.push_back({chunk, pages});
    }
    first += length;
    count -= length;
  }
}

void normalise(std::vector<PagesOfChunk>& list) {
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.chunk < b.chunk; });
  std::size_t kept = 0;
  for (const PagesOfChunk& entry : list) {
    if (kept > 0 && list[kept - 1].chunk == entry.chunk) {
      list[kept - 1].pages |= entry.pages;
    } else {
      list[kept++] = entry;
    }
  }
  list.resize(kept);
}

SplitPages split(const std::vector<PagesOfChunk>& list, const std::vector<PagesOfChunk>& other) {
  SplitPages parts;
  auto named = other.begin();
  for (const PagesOfChunk& entry : list) {
    while (named != other.end() && named->chunk < entry.chunk) ++named;
    const PageWord both = named != other.end() && named->chunk == entry.chunk ? entry.pages & named->pages : 0;
    if (both != 0) parts.in_both.push_back({entry.chunk, both});
    if (entry.pages != both) parts.only_in_list.push_back({entry.chunk, entry.pages & ~both});
  }
  return parts;
}

std::uint64_t count_pages(const std::vector<PagesOfChunk>& list) noexcept {
  std::uint64_t pages = 0;
  for (const PagesOfChunk& entry : list) pages += page_count(entry.pages);
  return pages;
}

}  // namespace godwit
