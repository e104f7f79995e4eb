#include "tracking/linux_guest/uniform_pages.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace godwit::linux_guest {
namespace {

constexpr std::size_t kChunksPerBatch = 4096;

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
    if (const auto mapped = memory_.map(chunk)) {
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

Status drop_uniform(GuestMemory& memory, std::span<PageWord> pages) {
  UniformPages uniform(memory);
  std::vector<PageWord> data(std::min(pages.size(), kChunksPerBatch));
  for (std::size_t first = 0; first < pages.size();) {
    const std::size_t count = std::min(pages.size() - first, data.size());
    // All chunks, one after the other: a file's own list of its holes is read only once so.
    TRY(memory.find_data(ChunkIndex{static_cast<std::uint32_t>(first)}, std::span(data).first(count)));
    for (std::size_t i = 0; i < count; ++i) {
      PageWord& word = pages[first + i];
      word &= data[i];
      if (word != 0) word &= ~TRY(uniform.of(ChunkIndex{static_cast<std::uint32_t>(first + i)}, word));
    }
    first += count;
  }
  return {};
}

}  // namespace godwit::linux_guest
