#include "engine/given_back.h"

#include <algorithm>

namespace godwit {

Status GivenBack::ask(ChunkIndex first, std::span<PageWord> pages) {
  PageWord any = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    pages[i] = sent_.of(ChunkIndex{first.value + static_cast<std::uint32_t>(i)});
    any |= pages[i];
  }
  return any == 0 ? Status{} : memory_.keep_where_holes_may_be(first, pages);
}

Status GivenBack::found(ChunkIndex first, std::span<PageWord> pages) {
  TRY(memory_.keep_holes(first, pages));
  std::uint64_t posted = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    board_.post(ChunkIndex{first.value + static_cast<std::uint32_t>(i)}, pages[i]);
    posted += page_count(pages[i]);
  }
  posted_.fetch_add(posted, std::memory_order_relaxed);
  return {};
}

}  // namespace godwit
