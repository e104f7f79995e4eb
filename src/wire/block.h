// The block of a Pages frame, before encoding and after decoding.
//
//   | whole pages (data) | values (fill) | references (copies) | masks (delta) | changed sub-blocks (delta) |
//   |--- kPageSize each -|-------- 8 ----|--------- 8 ---------|------ 2 ------|----- 256 each ------------|
//                        |<------------------------------ tail --------------------------------------------->|
#pragma once

#include <array>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/sub_blocks.h"
#include "wire/frame.h"

namespace godwit::wire {

/// A page that the lane has sent before, in another chunk.
struct PageReference {
  ChunkIndex chunk;
  std::uint32_t page = 0;  ///< 0..63
  bool operator==(const PageReference&) const = default;
};

/// The lengths that a header's words allow its block. No block is longer than the pages that it speaks of.
struct BlockBounds {
  std::size_t least = 0;
  std::size_t most = 0;
};
BlockBounds block_bounds(const FrameHeader& header) noexcept;

/// Bytes of the whole pages, where the tail begins.
inline std::size_t tail_offset(const FrameHeader& header) noexcept {
  return page_count(header.data) * kPageSize;
}

/// Puts a tail together, page by page in the order of their numbers. Owned by one lane, allocates once.
class TailBuilder {
 public:
  TailBuilder();
  void clear() noexcept;
  void add_fill(std::uint64_t value) noexcept { fills_[fill_count_++] = value; }
  void add_copy(const PageReference& reference) noexcept { copies_[copy_count_++] = reference; }
  /// Where the sub-blocks of the next delta page belong; at least a page's room.
  std::byte* sub_blocks() noexcept { return end_; }
  /// `mask` is neither 0 nor all; its sub-blocks have been written to sub_blocks().
  void add_delta(SubBlockMask mask) noexcept;
  /// The tail; until clear() or the next add.
  Bytes finish() noexcept;

 private:
  std::array<std::uint64_t, kPagesPerChunk> fills_;
  std::array<PageReference, kPagesPerChunk> copies_;
  std::array<SubBlockMask, kPagesPerChunk> masks_;
  std::size_t fill_count_ = 0;
  std::size_t copy_count_ = 0;
  std::size_t mask_count_ = 0;
  std::vector<std::byte> storage_;
  std::byte* end_ = nullptr;
};

/// A tail that has been checked against its header. Valid as long as the bytes it was read from.
class Tail {
 public:
  /// kProtocol: a mask of no or of all sub-blocks, a reference to a page past 63 or in the frame's own chunk, another
  /// length than the masks say.
  static Result<Tail> parse(const FrameHeader& header, Bytes tail);

  // Of the i-th page of the word that it belongs to.
  std::uint64_t fill(std::size_t i) const noexcept;
  PageReference copy(std::size_t i) const noexcept;
  SubBlockMask mask(std::size_t i) const noexcept;
  /// Of all delta pages, joined.
  Bytes sub_blocks() const noexcept { return sub_blocks_; }

 private:
  Bytes fills_;
  Bytes copies_;
  Bytes masks_;
  Bytes sub_blocks_;
};

}  // namespace godwit::wire
