// Headers of lane frames from hostile bytes: each is refused, or keeps every promise that decode_frame_header() makes.
#include <algorithm>
#include <cstdlib>

#include "wire/frame.h"

namespace {

using namespace godwit;

void check(bool kept) {
  if (!kept) std::abort();
}

void check_header(Bytes bytes) {
  const auto header = wire::decode_frame_header(bytes);
  if (!header) {
    check(header.error().kind == ErrorKind::kProtocol);
    return;
  }
  const auto again = wire::encode(*header);
  check(std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()));
  check(header->payload <= header->block);
  check(header->block <= page_count(header->named()) * kPageSize);
  check((header->payload > 0) == (header->block > 0));
  check(page_count(header->data) + page_count(header->zero) + page_count(header->fill) + page_count(header->copies) +
            page_count(header->own_delta()) ==
        page_count(header->named()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes = std::as_bytes(std::span(data, size));
  for (; bytes.size() >= wire::kFrameHeaderSize; bytes = bytes.subspan(wire::kFrameHeaderSize)) {
    check_header(bytes.first(wire::kFrameHeaderSize));
  }
  check_header(bytes);
  return 0;
}
