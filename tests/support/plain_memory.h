// Guest RAM in this process's own memory.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <new>
#include <vector>

#include "memory/guest_memory.h"

namespace godwit::testing {

/// Page-aligned, as guest RAM is wherever it is mapped.
template <typename T>
struct PageAligned {
  using value_type = T;
  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new (count * sizeof(T), std::align_val_t{kPageSize}));
  }
  void deallocate(T* at, std::size_t) noexcept { ::operator delete (at, std::align_val_t{kPageSize}); }
  bool operator==(const PageAligned&) const = default;
};
using RamBytes = std::vector<std::byte, PageAligned<std::byte>>;

/// One block per RamLayout block; find_data() names the pages that are not zero.
class PlainMemory final : public GuestMemory {
 public:
  explicit PlainMemory(RamLayout layout) : layout_(std::move(layout)), bytes_(layout_.chunk_count() * kChunkSize) {}

  const RamLayout& layout() const noexcept override { return layout_; }
  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    std::byte* to = out.data();
    for_each_page(pages, [&](unsigned page) {
      std::memcpy(to, at(chunk, page), kPageSize);
      to += kPageSize;
    });
    if (after_read) after_read(chunk, pages);
    return {};
  }
  Status write(ChunkIndex chunk, PageWord pages, Bytes in) override {
    const std::byte* from = in.data();
    for_each_page(pages, [&](unsigned page) {
      std::memcpy(at(chunk, page), from, kPageSize);
      from += kPageSize;
    });
    return {};
  }
  Status fill(ChunkIndex chunk, PageWord pages, Bytes in) override {
    TRY(populate(chunk, pages));
    return write(chunk, pages, in);
  }
  std::optional<MutableBytes> map(ChunkIndex chunk) noexcept override {
    return mappable ? std::optional(MutableBytes(at(chunk, 0), kChunkSize)) : std::nullopt;
  }
  Status discard(ChunkIndex chunk, PageWord pages) override {
    for_each_page(pages, [&](unsigned page) { std::memset(at(chunk, page), 0, kPageSize); });
    return {};
  }
  Status populate(ChunkIndex, PageWord) override {
    return out_of_memory ? fail(ErrorKind::kIo, "no memory") : Status{};
  }
  Status find_data(ChunkIndex first, std::span<PageWord> out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) {
      const ChunkIndex chunk{first.value + static_cast<std::uint32_t>(i)};
      out[i] = 0;
      for_each_page(layout_.valid_pages(chunk), [&](unsigned page) {
        const std::byte* begin = at(chunk, page);
        if (std::any_of(begin, begin + kPageSize, [](std::byte b) { return b != std::byte{0}; }))
          out[i] |= PageWord{1} << page;
      });
    }
    return {};
  }

  Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const override {
    std::vector<PageWord> data(pages.size());
    TRY(find_data(first, data));
    for (std::size_t i = 0; i < pages.size(); ++i) pages[i] &= ~data[i];
    return {};
  }

  std::byte* at(ChunkIndex chunk, unsigned page) noexcept {
    return bytes_.data() + chunk.value * kChunkSize + page * kPageSize;
  }
  const std::byte* at(ChunkIndex chunk, unsigned page) const noexcept {
    return bytes_.data() + chunk.value * kChunkSize + page * kPageSize;
  }
  const RamBytes& bytes() const noexcept { return bytes_; }

  bool out_of_memory = false;
  bool mappable = true;  ///< false: as private memory of another process
  /// What happens while a reader holds its copy and has not looked at it yet. On the reader's thread.
  std::function<void(ChunkIndex, PageWord)> after_read;

 private:
  RamLayout layout_;
  RamBytes bytes_;
};

}  // namespace godwit::testing
