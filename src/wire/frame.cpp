// Headers of lane frames. spec.md has their bytes; whether a chunk exists is the engine's to check.
#include "wire/frame.h"

#include <fmt/format.h>

#include "wire/little_endian.h"

namespace godwit::wire {
namespace {

constexpr std::size_t kTypeAt = 0;
constexpr std::size_t kCodecAt = 1;
constexpr std::size_t kReservedAt = 2;
constexpr std::size_t kChunkAt = 4;
constexpr std::size_t kDataAt = 8;
constexpr std::size_t kZeroAt = 16;
constexpr std::size_t kPayloadAt = 24;
constexpr std::size_t kReservedToo = 28;

// CodecId::kRaw, which this folder does not see.
constexpr std::uint8_t kRawCodec = 0;

Status check_pages(const FrameHeader& header) {
  const std::size_t size = page_count(header.data) * kPageSize;
  const auto bad = [&](std::string_view why) {
    return fail(ErrorKind::kProtocol, fmt::format("a frame of chunk {} {}", header.chunk.value, why));
  };
  if ((header.data & header.zero) != 0) return bad("names pages as data and as zeros at once");
  if ((header.data | header.zero) == 0) return bad("names no page");
  if (header.data == 0 && header.payload != 0) return bad("has a payload but no pages in it");
  if (header.data == 0 && header.codec != kRawCodec) return bad("has a codec but no payload");
  if (header.data != 0 && header.payload == 0) return bad("has pages but no payload");
  if (header.payload > size) {
    return bad(fmt::format("has a payload of {} bytes for {} bytes of pages", header.payload, size));
  }
  if (header.codec == kRawCodec && header.payload != size) {
    return bad(fmt::format("has a raw payload of {} bytes for {} bytes of pages", header.payload, size));
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
  put(bytes.data() + kPayloadAt, header.payload);
  return bytes;
}

Result<FrameHeader> decode_frame_header(Bytes bytes) {
  if (bytes.size() != kFrameHeaderSize) {
    return fail(ErrorKind::kProtocol,
                fmt::format("a frame header has {} bytes, not {}", bytes.size(), kFrameHeaderSize));
  }
  const std::byte* at = bytes.data();
  if (get<std::uint16_t>(at + kReservedAt) != 0 || get<std::uint32_t>(at + kReservedToo) != 0) {
    return fail(ErrorKind::kProtocol, "a frame's reserved bytes are not zero");
  }
  FrameHeader header;
  header.type = static_cast<FrameType>(at[kTypeAt]);
  header.codec = std::to_integer<std::uint8_t>(at[kCodecAt]);
  header.chunk = ChunkIndex{get<std::uint32_t>(at + kChunkAt)};
  header.data = get<PageWord>(at + kDataAt);
  header.zero = get<PageWord>(at + kZeroAt);
  header.payload = get<std::uint32_t>(at + kPayloadAt);
  switch (header.type) {
    case FrameType::kPages:
      TRY(check_pages(header));
      return header;
    case FrameType::kFence:
      if (header.codec != 0 || header.data != 0 || header.zero != 0 || header.payload != 0) {
        return fail(ErrorKind::kProtocol, fmt::format("fence {} carries pages", header.chunk.value));
      }
      return header;
  }
  return fail(ErrorKind::kProtocol, fmt::format("a frame has the unknown type {}", std::to_integer<int>(at[kTypeAt])));
}

}  // namespace godwit::wire
