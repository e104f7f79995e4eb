// Lane frames: pages of one chunk, or a fence. A fixed little-endian header of 32 bytes, then the payload.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/page.h"

namespace godwit::wire {

inline constexpr std::size_t kFrameHeaderSize = 32;

enum class FrameType : std::uint8_t {
  kPages = 1,  ///< `data` pages are in the payload, `zero` pages are all zeros
  kFence = 2,  ///< all before this has been sent; `chunk` carries the fence's number
};

struct FrameHeader {
  FrameType type = FrameType::kPages;
  std::uint8_t codec = 0;  ///< CodecId of the payload
  ChunkIndex chunk;
  PageWord data = 0;          ///< pages in the payload, joined in order, then encoded
  PageWord zero = 0;          ///< pages that are all zeros now; disjoint from data
  std::uint32_t payload = 0;  ///< bytes that follow
  bool operator==(const FrameHeader&) const = default;
};

using FrameHeaderBytes = std::array<std::byte, kFrameHeaderSize>;
FrameHeaderBytes encode(const FrameHeader& header) noexcept;
/// Checks all that can be checked without knowing the VM: type, disjoint words, payload present exactly if there is
/// data and at most page_count(data) * 4096, raw payload exactly that long, at least one page named, a fence without
/// pages, reserved bytes zero. kProtocol says which.
Result<FrameHeader> decode_frame_header(Bytes header);

}  // namespace godwit::wire
