#include "linux_guest/uniform_pages.h"

#include <cstring>
#include <vector>

#include "linux_guest/mapped_chunk.h"

namespace godwit::linux_guest {
namespace {

bool is_uniform(const std::byte* page) {
  std::uint64_t word = 0;
  std::memcpy(&word, page, sizeof(word));
  if (word != (word & 0xff) * 0x0101010101010101) return false;
  return std::memcmp(page, page + sizeof(word), kPageSize - sizeof(word)) == 0;
}

class UniformPages {
 public:
  explicit UniformPages(GuestMemory& memory) : memory_(memory) {}

  Result<PageWord> of(ChunkIndex chunk, PageWord pages) {
    if (const auto mapped = map_small_pages(memory_, chunk)) {
      return find(pages, [&](unsigned page) { return mapped->data() + page * kPageSize; });
    }
    copy_.resize(kChunkSize);
    TRY(memory_.read(chunk, pages, std::span(copy_).first(page_count(pages) * kPageSize)));
    const std::byte* next = copy_.data();
    return find(pages, [&](unsigned) { return std::exchange(next, next + kPageSize); });
  }

 private:
  template <typename PageAt>
  static PageWord find(PageWord pages, PageAt&& page_at) {
    PageWord uniform = 0;
    for_each_page(pages, [&](unsigned page) { uniform |= PageWord{is_uniform(page_at(page))} << page; });
    return uniform;
  }

  GuestMemory& memory_;
  std::vector<std::byte> copy_;
};

}  // namespace

Status keep_uniform(GuestMemory& memory, ChunkIndex first, std::span<PageWord> pages) {
  UniformPages look(memory);
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (pages[i] == 0) continue;
    pages[i] = TRY(look.of(ChunkIndex{first.value + static_cast<std::uint32_t>(i)}, pages[i]));
  }
  return {};
}

}  // namespace godwit::linux_guest
