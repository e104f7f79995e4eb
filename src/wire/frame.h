// Lane frames: pages of one chunk, or a fence. A fixed little-endian header of 64 bytes, then the payload.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/page.h"

namespace godwit::wire {

inline constexpr std::size_t kFrameHeaderSize = 64;

enum class FrameType : std::uint8_t {
  kPages = 1,  ///< what the header's page words say, with a payload if any of them needs one
  kFence = 2,  ///< all before this has been sent; `chunk` carries the fence's number
};

/// A page is in at most one of the words, except for `xored`, and for those of `copies` that are in `delta` as well.
struct FrameHeader {
  FrameType type = FrameType::kPages;
  std::uint8_t codec = 0;  ///< CodecId of the payload
  ChunkIndex chunk;
  PageWord data = 0;    ///< pages that come whole
  PageWord zero = 0;    ///< pages that are all zeros now
  PageWord fill = 0;    ///< pages of one 64-bit value repeated
  PageWord copies = 0;  ///< pages like another that this lane has sent before; equal, except for `delta`
  PageWord delta = 0;   ///< pages of which some sub-blocks come; the rest is as sent before by this lane, or as copied
  PageWord xored = 0;   ///< those of `delta`, not of `copies`, whose sub-blocks are XORed with what was there
  std::uint32_t payload = 0;  ///< bytes that follow
  std::uint32_t block = 0;    ///< what they decode to (block.h)
  bool operator==(const FrameHeader&) const = default;

  /// All pages that the frame speaks of.
  PageWord named() const noexcept { return data | zero | fill | copies | delta; }
  /// Pages whose delta builds on what was there, not on a copy.
  PageWord own_delta() const noexcept { return delta & ~copies; }
};

using FrameHeaderBytes = std::array<std::byte, kFrameHeaderSize>;
FrameHeaderBytes encode(const FrameHeader& header) noexcept;
/// Checks all that can be checked without knowing the VM: type, no page in two words that exclude each other, at least
/// one page named, a block that the words' pages can have, a payload no longer than the block and exactly as long if
/// raw, a fence without pages, reserved bytes zero. kProtocol says which.
Result<FrameHeader> decode_frame_header(Bytes header);

}  // namespace godwit::wire
