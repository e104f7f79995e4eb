// Guest RAM in this process's own memory.
#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#include "memory/guest_memory.h"
#include "tests/support/racy_on_purpose.h"

namespace godwit::testing {

/// Zeros at first, page-aligned as guest RAM is wherever it is mapped. Not a vector, which takes long to visit millions
/// of bytes one by one where nothing is optimized.
class RamBytes {
 public:
  explicit RamBytes(std::size_t size) : RamBytes(size, nullptr) { std::memset(data(), 0, size); }
  RamBytes(const RamBytes& other) : RamBytes(other.size(), nullptr) { std::memcpy(data(), other.data(), size()); }
  RamBytes& operator=(const RamBytes&) = delete;

  std::byte* data() noexcept { return bytes_.get(); }
  const std::byte* data() const noexcept { return bytes_.get(); }
  std::size_t size() const noexcept { return size_; }
  const std::byte& operator[](std::size_t at) const noexcept { return data()[at]; }
  bool operator==(const RamBytes& other) const noexcept {
    return size() == other.size() && std::memcmp(data(), other.data(), size()) == 0;
  }

 private:
  static constexpr std::align_val_t kAlignment{kPageSize};
  struct Free {
    void operator()(std::byte* at) const noexcept { ::operator delete(at, kAlignment); }
  };
  RamBytes(std::size_t size, std::nullptr_t)
      : size_(size), bytes_(static_cast<std::byte*>(::operator new(size, kAlignment))) {}

  std::size_t size_;
  std::unique_ptr<std::byte, Free> bytes_;
};

/// One block per RamLayout block; find_data() names the pages that are not zero.
class PlainMemory final : public GuestMemory {
 public:
  explicit PlainMemory(RamLayout layout) : layout_(std::move(layout)), bytes_(layout_.chunk_count() * kChunkSize) {}

  const RamLayout& layout() const noexcept override { return layout_; }
  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    {
      const RacyOnPurpose racy;
      std::byte* to = out.data();
      for_each_page(pages, [&](unsigned page) {
        std::memcpy(to, at(chunk, page), kPageSize);
        to += kPageSize;
      });
    }
    if (after_read) after_read(chunk, pages);
    return {};
  }
  std::optional<Bytes> view(ChunkIndex chunk, PageWord pages) const override {
    if (!viewable || !is_one_run(pages)) return std::nullopt;
    return Bytes(at(chunk, lowest_page(pages)), page_count(pages) * kPageSize);
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
        // Nothing but zeros: the first byte is one, and each other is as the one before it.
        const bool zeros = *begin == std::byte{0} && std::memcmp(begin, begin + 1, kPageSize - 1) == 0;
        if (!zeros) out[i] |= PageWord{1} << page;
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
  bool mappable = true;   ///< false: as private memory of another process
  bool viewable = false;  ///< readers may look at it where it lies
  /// What happens while a reader holds its copy and has not looked at it yet. On the reader's thread.
  std::function<void(ChunkIndex, PageWord)> after_read;

 private:
  RamLayout layout_;
  RamBytes bytes_;
};

}  // namespace godwit::testing
