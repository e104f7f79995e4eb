// What a sink asks for on the connection of a post-copy: pages that its guest waits for. 16 bytes, little-endian.
#pragma once

#include <array>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/page.h"

namespace godwit::wire {

inline constexpr std::size_t kPageRequestSize = 16;

struct PageRequest {
  ChunkIndex chunk;
  PageWord pages = 0;
  bool operator==(const PageRequest&) const = default;
};

using PageRequestBytes = std::array<std::byte, kPageRequestSize>;
PageRequestBytes encode(const PageRequest& request) noexcept;
/// kProtocol: no page named, or reserved bytes that are not zero. Whether the VM has such pages is not checked.
Result<PageRequest> decode_page_request(const PageRequestBytes& bytes);

}  // namespace godwit::wire
