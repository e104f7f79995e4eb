#include "wire/block.h"

#include <fmt/format.h>

#include "wire/little_endian.h"

namespace godwit::wire {

namespace {

constexpr std::size_t kFillSize = 8;
constexpr std::size_t kCopySize = 8;
constexpr std::size_t kMaskSize = 2;
// The most that a page can have in front of the sub-blocks.
constexpr std::size_t kMostFront = kPagesPerChunk * (kCopySize + kMaskSize);

/// The lengths of a tail's parts, except for the sub-blocks.
struct Parts {
  std::size_t fills;
  std::size_t copies;
  std::size_t masks;
  explicit Parts(const FrameHeader& header) noexcept
      : fills(page_count(header.fill) * kFillSize),
        copies(page_count(header.copies) * kCopySize),
        masks(page_count(header.delta) * kMaskSize) {}
  std::size_t all() const noexcept { return fills + copies + masks; }
};

}  // namespace

BlockBounds block_bounds(const FrameHeader& header) noexcept {
  const std::size_t fixed = tail_offset(header) + Parts(header).all();
  const std::size_t deltas = page_count(header.delta);
  return {fixed + deltas * kSubBlockSize, fixed + deltas * (kPageSize - kSubBlockSize)};
}

TailBuilder::TailBuilder() : storage_(kMostFront + kChunkSize) {
  clear();
}

void TailBuilder::clear() noexcept {
  fill_count_ = copy_count_ = mask_count_ = 0;
  end_ = storage_.data() + kMostFront;
}

void TailBuilder::add_delta(SubBlockMask mask) noexcept {
  masks_[mask_count_++] = mask;
  end_ += sub_block_bytes(mask);
}

/// The small parts go right before the sub-blocks, which have lain in their place from the start.
Bytes TailBuilder::finish() noexcept {
  std::byte* const sub_blocks = storage_.data() + kMostFront;
  std::byte* const begin = sub_blocks - (fill_count_ * kFillSize + copy_count_ * kCopySize + mask_count_ * kMaskSize);
  std::byte* at = begin;
  for (std::size_t i = 0; i < fill_count_; ++i, at += kFillSize) put(at, fills_[i]);
  for (std::size_t i = 0; i < copy_count_; ++i, at += kCopySize) {
    put(at, copies_[i].chunk.value);
    put(at + 4, copies_[i].page);
  }
  for (std::size_t i = 0; i < mask_count_; ++i, at += kMaskSize) put(at, masks_[i]);
  return {begin, end_};
}

Result<Tail> Tail::parse(const FrameHeader& header, Bytes bytes) {
  const auto bad = [&](std::string_view why) {
    return fail(ErrorKind::kProtocol, fmt::format("the block of a frame of chunk {} {}", header.chunk.value, why));
  };
  const Parts parts(header);
  if (bytes.size() < parts.all()) return bad("is too short");
  Tail tail;
  tail.fills_ = bytes.first(parts.fills);
  tail.copies_ = bytes.subspan(parts.fills, parts.copies);
  tail.masks_ = bytes.subspan(parts.fills + parts.copies, parts.masks);
  tail.sub_blocks_ = bytes.subspan(parts.all());
  for (std::size_t i = 0; i < page_count(header.copies); ++i) {
    const auto reference = tail.copy(i);
    if (reference.page >= kPagesPerChunk) return bad(fmt::format("refers to page {} of a chunk", reference.page));
    if (reference.chunk == header.chunk) return bad("refers to a page of the same frame's chunk");
  }
  std::size_t changed = 0;
  for (std::size_t i = 0; i < page_count(header.delta); ++i) {
    const auto mask = tail.mask(i);
    if (mask == 0 || mask == kAllSubBlocks) return bad(fmt::format("has a delta with the mask {:#06x}", mask));
    changed += sub_block_bytes(mask);
  }
  if (tail.sub_blocks_.size() != changed) {
    return bad(fmt::format("has {} bytes of sub-blocks where its masks name {}", tail.sub_blocks_.size(), changed));
  }
  return tail;
}

std::uint64_t Tail::fill(std::size_t i) const noexcept {
  return get<std::uint64_t>(fills_.data() + i * kFillSize);
}

PageReference Tail::copy(std::size_t i) const noexcept {
  const std::byte* at = copies_.data() + i * kCopySize;
  return {ChunkIndex{get<std::uint32_t>(at)}, get<std::uint32_t>(at + 4)};
}

SubBlockMask Tail::mask(std::size_t i) const noexcept {
  return get<SubBlockMask>(masks_.data() + i * kMaskSize);
}

}  // namespace godwit::wire
