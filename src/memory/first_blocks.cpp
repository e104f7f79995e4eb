#include "memory/first_blocks.h"

#include <utility>

namespace godwit {

namespace {

class FirstBlocks final : public GuestMemory {
 public:
  FirstBlocks(GuestMemory& whole, RamLayout layout) : whole_(whole), layout_(std::move(layout)) {}

  const RamLayout& layout() const noexcept override { return layout_; }
  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    TRY(check(chunk));
    return whole_.read(chunk, pages, out);
  }
  Status write(ChunkIndex chunk, PageWord pages, Bytes in) override {
    TRY(check(chunk));
    return whole_.write(chunk, pages, in);
  }
  Status fill(ChunkIndex chunk, PageWord pages, Bytes in) override {
    TRY(check(chunk));
    return whole_.fill(chunk, pages, in);
  }
  std::optional<MutableBytes> map(ChunkIndex chunk) noexcept override {
    return chunk.value < layout_.chunk_count() ? whole_.map(chunk) : std::nullopt;
  }
  Status discard(ChunkIndex chunk, PageWord pages) override {
    TRY(check(chunk));
    return whole_.discard(chunk, pages);
  }
  Status populate(ChunkIndex chunk, PageWord pages) override {
    TRY(check(chunk));
    return whole_.populate(chunk, pages);
  }
  Status find_data(ChunkIndex first, std::span<PageWord> out) const override {
    TRY(check_all(first, out.size()));
    return whole_.find_data(first, out);
  }
  Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const override {
    TRY(check_all(first, pages.size()));
    return whole_.keep_holes(first, pages);
  }
  Status keep_where_holes_may_be(ChunkIndex first, std::span<PageWord> pages) const override {
    TRY(check_all(first, pages.size()));
    return whole_.keep_where_holes_may_be(first, pages);
  }

 private:
  Status check_all(ChunkIndex first, std::size_t count) const {
    if (first.value <= layout_.chunk_count() && count <= layout_.chunk_count() - first.value) return {};
    return fail(ErrorKind::kInvalidArgument, "chunks behind the end of this memory");
  }
  Status check(ChunkIndex chunk) const { return check_all(chunk, 1); }

  GuestMemory& whole_;
  const RamLayout layout_;
};

}  // namespace

Result<std::unique_ptr<GuestMemory>> first_blocks(GuestMemory& whole, std::size_t count) {
  const auto all = whole.layout().blocks();
  if (count > all.size()) return fail(ErrorKind::kInvalidArgument, "there are not so many RAM blocks");
  auto layout = TRY(RamLayout::make({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count)}));
  return std::make_unique<FirstBlocks>(whole, std::move(layout));
}

}  // namespace godwit
