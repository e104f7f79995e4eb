// A placer as a guest that runs already needs it: each page comes into place as a whole, and only once, when it is
// placed. Takes note of what it is asked for.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>

#include "engine/page_placer.h"
#include "memory/kernels.h"
#include "tests/support/plain_memory.h"

namespace godwit::testing {

class WholePagePlacer final : public PagePlacer {
 public:
  WholePagePlacer(PlainMemory& memory, const Kernels& kernels)
      : memory_(memory), kernels_(kernels), received_(memory.layout().chunk_count()) {}

  const RamLayout& layout() const noexcept override { return memory_.layout(); }
  PageWord received(ChunkIndex chunk) const noexcept override { return received_[chunk.value]; }
  Status read(ChunkIndex chunk, unsigned page, MutableBytes out) const override {
    expect_received(chunk, page);
    return memory_.read(chunk, PageWord{1} << page, out);
  }
  PageRoom room_for(ChunkIndex, PageWord pages, MutableBytes own) override {
    const auto size = page_count(pages) * kPageSize;
    EXPECT_GE(own.size(), size);
    return {.pages = pages, .bytes = own.first(size)};
  }
  Status placed(ChunkIndex chunk, const PageRoom& room) override { return place(chunk, room.pages, room.bytes); }
  Status place(ChunkIndex chunk, PageWord pages, Bytes in) override {
    EXPECT_NE(pages, 0U);
    EXPECT_EQ(in.size(), page_count(pages) * kPageSize);
    placed_pages_ += page_count(pages);
    received_[chunk.value] |= pages;
    return memory_.write(chunk, pages, in);
  }
  Status change(ChunkIndex chunk, unsigned page, SubBlockMask mask, bool xored, const std::byte* in) override {
    alignas(64) std::array<std::byte, kPageSize> whole;
    TRY(read(chunk, page, whole));
    (xored ? kernels_.scatter_xor : kernels_.scatter)(in, mask, whole.data());
    return place(chunk, PageWord{1} << page, whole);
  }
  Status discard(ChunkIndex chunk, PageWord pages) override {
    EXPECT_NE(pages, 0U);
    received_[chunk.value] &= ~pages;
    return memory_.discard(chunk, pages);
  }

  std::uint64_t placed_pages() const noexcept { return placed_pages_; }

 private:
  void expect_received(ChunkIndex chunk, unsigned page) const {
    EXPECT_NE(received_[chunk.value] >> page & 1, 0U) << "page " << page << " of chunk " << chunk.value;
  }

  PlainMemory& memory_;
  const Kernels& kernels_;
  std::vector<PageWord> received_;
  std::atomic<std::uint64_t> placed_pages_{0};
};

}  // namespace godwit::testing
