// Headers of lane frames. spec.md has their bytes; whether a chunk exists is the engine's to check.
#include "wire/frame.h"

#include <fmt/format.h>

#include "wire/block.h"
#include "wire/little_endian.h"

namespace godwit::wire {
namespace {

constexpr std::size_t kTypeAt = 0;
constexpr std::size_t kCodecAt = 1;
constexpr std::size_t kFrameReservedAt = 2;
constexpr std::size_t kChunkAt = 4;
constexpr std::size_t kDataAt = 8;
constexpr std::size_t kZeroAt = 16;
constexpr std::size_t kFillAt = 24;
constexpr std::size_t kCopiesAt = 32;
constexpr std::size_t kDeltaAt = 40;
constexpr std::size_t kXoredAt = 48;
constexpr std::size_t kPayloadAt = 56;
constexpr std::size_t kBlockAt = 60;

// CodecId::kRaw, which this folder does not see.
constexpr std::uint8_t kRawCodec = 0;

Status check_pages(const FrameHeader& header) {
  const auto bad = [&](std::string_view why) {
    return fail(ErrorKind::kProtocol, fmt::format("a frame of chunk {} {}", header.chunk.value, why));
  };
  PageWord seen = 0;
  for (const PageWord word : {header.data, header.zero, header.fill, header.copies, header.own_delta()}) {
    if ((seen & word) != 0) return bad("names a page twice");
    seen |= word;
  }
  if (seen == 0) return bad("names no page");
  if ((header.xored & ~header.own_delta()) != 0) return bad("XORs a page that has no delta of its own");
  const auto bounds = block_bounds(header);
  if (header.block < bounds.least || header.block > bounds.most) {
    return bad(
        fmt::format("has a block of {} bytes where its pages make {} to {}", header.block, bounds.least, bounds.most));
  }
  if (header.block == 0 && header.codec != kRawCodec) return bad("has a codec but no payload");
  if (header.block == 0 && header.payload != 0) return bad("has a payload but no block in it");
  if (header.block != 0 && header.payload == 0) return bad("has a block but no payload");
  if (header.payload > header.block) {
    return bad(fmt::format("has a payload of {} bytes for a block of {}", header.payload, header.block));
  }
  if (header.codec == kRawCodec && header.payload != header.block) {
    return bad(fmt::format("has a raw payload of {} bytes for a block of {}", header.payload, header.block));
  }
  return {};
}

}  // namespace

FrameHeaderBytes encode(const FrameHeader& header) noexcept {
  FrameHeaderBytes bytes{};
  bytes[kTypeAt] = static_cast<std::byte>(header.type);
  bytes[kCodecAt] = static_cast<std::byte>(header.codec);
  put(bytes.data() + kChunkAt, header.chunk.value);
  put(bytes.data() + kDataAt, header.data);
  put(bytes.data() + kZeroAt, header.zero);
  put(bytes.data() + kFillAt, header.fill);
  put(bytes.data() + kCopiesAt, header.copies);
  put(bytes.data() + kDeltaAt, header.delta);
  put(bytes.data() + kXoredAt, header.xored);
  put(bytes.data() + kPayloadAt, header.payload);
  put(bytes.data() + kBlockAt, header.block);
  return bytes;
}

Result<FrameHeader> decode_frame_header(Bytes bytes) {
  if (bytes.size() != kFrameHeaderSize) {
    return fail(ErrorKind::kProtocol,
                fmt::format("a frame header has {} bytes, not {}", bytes.size(), kFrameHeaderSize));
  }
  const std::byte* at = bytes.data();
  if (get<std::uint16_t>(at + kFrameReservedAt) != 0) {
    return fail(ErrorKind::kProtocol, "a frame's reserved bytes are not zero");
  }
  FrameHeader header;
  header.type = static_cast<FrameType>(at[kTypeAt]);
  header.codec = std::to_integer<std::uint8_t>(at[kCodecAt]);
  header.chunk = ChunkIndex{get<std::uint32_t>(at + kChunkAt)};
  header.data = get<PageWord>(at + kDataAt);
  header.zero = get<PageWord>(at + kZeroAt);
  header.fill = get<PageWord>(at + kFillAt);
  header.copies = get<PageWord>(at + kCopiesAt);
  header.delta = get<PageWord>(at + kDeltaAt);
  header.xored = get<PageWord>(at + kXoredAt);
  header.payload = get<std::uint32_t>(at + kPayloadAt);
  header.block = get<std::uint32_t>(at + kBlockAt);
  switch (header.type) {
    case FrameType::kPages:
      TRY(check_pages(header));
      return header;
    case FrameType::kFence:
      if (header != FrameHeader{.type = FrameType::kFence, .chunk = header.chunk}) {
        return fail(ErrorKind::kProtocol, fmt::format("fence {} carries pages", header.chunk.value));
      }
      return header;
  }
  return fail(ErrorKind::kProtocol, fmt::format("a frame has the unknown type {}", std::to_integer<int>(at[kTypeAt])));
}

}  // namespace godwit::wire
