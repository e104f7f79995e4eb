// The header of a control message. Inside this folder only.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"

namespace godwit::wire {

inline constexpr std::size_t kHeaderSize = 8;
using HeaderBytes = std::array<std::byte, kHeaderSize>;

struct Header {
  std::uint16_t type = 0;
  std::uint32_t length = 0;  ///< of the body
};

HeaderBytes encode_header(std::uint16_t type, std::size_t length) noexcept;
/// kProtocol: an unknown type, a length over its limit. `bytes`: kHeaderSize of them.
Result<Header> decode_header(Bytes bytes);

}  // namespace godwit::wire
