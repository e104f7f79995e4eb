// The run-length code of data maps: its size, and that each map has one encoding only.
#include <gtest/gtest.h>

#include "tests/wire/samples.h"
#include "wire/control.h"
#include "wire/limits.h"
#include "wire/message_types.h"

namespace godwit::wire::testing::data_map_test {
namespace {

constexpr auto kType = static_cast<std::uint16_t>(MessageType::kDataMap);

std::size_t encoded_size(std::vector<PageWord> words) {
  return encode(DataMap{ChunkIndex{0}, std::move(words)}).body.size();
}

void expect_refused(std::string_view body, std::string_view why) {
  const auto decoded = decode(kType, unhex(body));
  ASSERT_FALSE(decoded) << body;
  EXPECT_EQ(decoded.error().kind, ErrorKind::kProtocol);
  EXPECT_NE(decoded.error().message.find(why), std::string::npos) << decoded.error().message;
}

TEST(DataMap, EmptyAndFullGuestsCostAlmostNothing) {
  EXPECT_EQ(encoded_size(std::vector<PageWord>(kMaxMapWords, 0)), 12u);
  EXPECT_EQ(encoded_size(std::vector<PageWord>(kMaxMapWords, kAllPages)), 12u);
}

TEST(DataMap, TheWorstMapsFitTheLimit) {
  std::vector<PageWord> all_different(kMaxMapWords, 5);
  std::vector<PageWord> every_other(kMaxMapWords, 5);
  std::vector<PageWord> in_turn(kMaxMapWords);
  for (std::size_t i = 0; i < kMaxMapWords; ++i) {
    if (i % 2 == 1) every_other[i] = 0;
    in_turn[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? kAllPages : 5;
  }
  for (const auto& words : {all_different, every_other, in_turn}) {
    const DataMap map{ChunkIndex{0}, words};
    const Encoded encoded = encode(map);
    EXPECT_LE(encoded.body.size(), body_limit(kType));
    const auto decoded = decode(kType, encoded.body);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_TRUE(*decoded == Message(map));
  }
}

TEST(DataMap, TheLastChunkNumberIsTheLast) {
  EXPECT_TRUE(decode(kType, unhex("ffffffff"
                                  "01000000"
                                  "01000000")));
  expect_refused(
      "ffffffff"
      "02000000"
      "02000000",
      "past the last chunk");
}

TEST(DataMap, SizesAreBoundedBeforeTheyAreBelieved) {
  expect_refused("0000000000000000", "has 0 chunks");
  expect_refused("00000000ffffffffffffff3f", "has 4294967295 chunks");
  expect_refused("000000000100010001000100", "has 65537 chunks");
  // A run may not cover more than the map says, nor more words than there are bytes for.
  expect_refused("0000000002000000ffffff3f", "wrong length");
  expect_refused("00000000020000000300000001000000", "wrong length");
  expect_refused("0000000000000100000001800000000000000001", "middle of a run");
}

TEST(DataMap, EachMapHasOneEncoding) {
  expect_refused("000000000200000000000000", "wrong length");
  expect_refused("00000000020000000100000001000000", "side by side");
  expect_refused("00000000020000000100004001000040", "side by side");
  expect_refused(
      "0000000001000000"
      "01000080"
      "0000000000000000",
      "empty or full");
  expect_refused(
      "0000000001000000"
      "01000080"
      "ffffffffffffffff",
      "empty or full");
  expect_refused("0000000001000000010000c0", "unknown kind");
}

}  // namespace
}  // namespace godwit::wire::testing::data_map_test
