// Page requests of a post-copy: their bytes, and what is none.
#include <gtest/gtest.h>

#include "wire/page_request.h"

namespace godwit::wire::page_request_test {
namespace {

TEST(PageRequestBytes, AreThoseOfTheSpecification) {
  const PageRequest request{ChunkIndex{0x01020304}, 0x1122334455667788};
  const PageRequestBytes bytes = encode(request);
  const unsigned char expected[] = {4, 3, 2, 1, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
  for (std::size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], std::byte{expected[i]}) << i;
  EXPECT_EQ(decode_page_request(bytes).value(), request);
}

TEST(PageRequestBytes, AreRefusedWithoutAPageOrWithReservedBytes) {
  EXPECT_EQ(decode_page_request(encode(PageRequest{ChunkIndex{1}, 0})).error().kind, ErrorKind::kProtocol);
  for (std::size_t at = 4; at < 8; ++at) {
    PageRequestBytes bytes = encode(PageRequest{ChunkIndex{1}, 1});
    bytes[at] = std::byte{1};
    EXPECT_EQ(decode_page_request(bytes).error().kind, ErrorKind::kProtocol) << at;
  }
}

}  // namespace
}  // namespace godwit::wire::page_request_test
