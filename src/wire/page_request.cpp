#include "wire/page_request.h"

#include "wire/little_endian.h"

namespace godwit::wire {

PageRequestBytes encode(const PageRequest& request) noexcept {
  PageRequestBytes bytes{};
  put(bytes.data(), request.chunk.value);
  put(bytes.data() + 8, request.pages);
  return bytes;
}

Result<PageRequest> decode_page_request(const PageRequestBytes& bytes) {
  if (get<std::uint32_t>(bytes.data() + 4) != 0) {
    return fail(ErrorKind::kProtocol, "a page request's reserved bytes are not zero");
  }
  const PageRequest request{ChunkIndex{get<std::uint32_t>(bytes.data())}, get<PageWord>(bytes.data() + 8)};
  if (request.pages == 0) return fail(ErrorKind::kProtocol, "a page request names no page");
  return request;
}

}  // namespace godwit::wire
