#include "engine/missing_placer.h"

#include <fmt/format.h>

#include <algorithm>

namespace godwit {

MissingPlacer::MissingPlacer(MissingPages& pages, const RamLayout& layout, std::function<void()> on_all_there)
    : pages_(pages),
      layout_(layout),
      on_all_there_(std::move(on_all_there)),
      words_(std::make_unique<std::atomic<PageWord>[]>(layout.chunk_count())),
      added_(layout.chunk_count()) {}

Status MissingPlacer::add(const wire::MissingMap& map) {
  if (map.first.value < added_to_ || map.first.value + map.words.size() > layout_.chunk_count()) {
    return fail(ErrorKind::kProtocol, "the source's map of missing pages is out of order or too long");
  }
  for (std::size_t i = 0; i < map.words.size(); ++i) {
    const ChunkIndex chunk{map.first.value + static_cast<std::uint32_t>(i)};
    if ((map.words[i] & ~layout_.valid_pages(chunk)) != 0) {
      return fail(ErrorKind::kProtocol, "the source's map of missing pages names pages past the end of RAM");
    }
    const PageWord before = words_[chunk.value].fetch_or(map.words[i], std::memory_order_relaxed);
    added_[chunk.value] = map.words[i] & ~before;
    left_ += page_count(added_[chunk.value]);
    if (begun_ && added_[chunk.value] != 0) besides_.push_back({chunk, added_[chunk.value]});
  }
  added_to_ = map.first.value + map.words.size();
  return {};
}

std::vector<PageWord> MissingPlacer::words() const {
  std::vector<PageWord> words(layout_.chunk_count());
  for (std::uint32_t c = 0; c < words.size(); ++c) words[c] = missing(ChunkIndex{c});
  return words;
}

Status MissingPlacer::begin() {
  added_to_ = 0;
  begun_ = true;
  merge_besides();
  TRY(pages_.begin(added_));
  std::ranges::fill(added_, 0);
  return {};
}

Status MissingPlacer::read(ChunkIndex, unsigned, MutableBytes) const {
  return fail(ErrorKind::kProtocol, "the source refers to a page of a guest that runs already");
}

std::span<const MissingBesides> MissingPlacer::besides() {
  merge_besides();
  return besides_;
}

void MissingPlacer::merge_besides() {
  std::ranges::inplace_merge(besides_, besides_.begin() + static_cast<std::ptrdiff_t>(merged_), {},
                             [](const MissingBesides& each) { return each.chunk.value; });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < besides_.size(); ++i) {
    const MissingBesides next = besides_[i];
    if (kept > 0 && besides_[kept - 1].chunk.value == next.chunk.value) {
      besides_[kept - 1].pages |= next.pages;
    } else {
      besides_[kept++] = next;
    }
  }
  besides_.resize(kept);
  merged_ = kept;
}

PageRoom MissingPlacer::room_for(ChunkIndex, PageWord pages, MutableBytes own) {
  return {.pages = pages, .bytes = own.first(page_count(pages) * kPageSize)};
}

Status MissingPlacer::place(ChunkIndex chunk, PageWord pages, Bytes in) {
  TRY(check_missing(chunk, pages));
  TRY(pages_.put(chunk, pages, in));
  have_come(chunk, pages);
  return {};
}

Status MissingPlacer::change(ChunkIndex, unsigned, SubBlockMask, bool, const std::byte*) {
  return fail(ErrorKind::kProtocol, "the source sent changes of a page of a guest that runs already");
}

Status MissingPlacer::discard(ChunkIndex chunk, PageWord pages) {
  TRY(check_missing(chunk, pages));
  TRY(pages_.put_zeros(chunk, pages));
  have_come(chunk, pages);
  return {};
}

Status MissingPlacer::check_missing(ChunkIndex chunk, PageWord pages) const {
  if ((pages & ~missing(chunk)) == 0) return {};
  return fail(ErrorKind::kProtocol,
              fmt::format("the source sent pages of chunk {} that are not missing here", chunk.value));
}

/// In place first: whoever reads the word finds a page missing that is there, never the other way round. Marked before
/// the guest can have given it back, which a kernel does seconds after it has freed a page.
void MissingPlacer::have_come(ChunkIndex chunk, PageWord pages) {
  arrived_.set(chunk, pages);
  words_[chunk.value].fetch_and(~pages, std::memory_order_acq_rel);
  const auto count = page_count(pages);
  if (left_.fetch_sub(count, std::memory_order_acq_rel) == count) on_all_there_();
}

}  // namespace godwit
