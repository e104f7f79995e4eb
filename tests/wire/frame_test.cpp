#include "wire/frame.h"

#include <gtest/gtest.h>

#include <random>

namespace godwit::wire::testing {
namespace {

FrameHeader random_valid(std::mt19937_64& random) {
  FrameHeader header;
  header.chunk = ChunkIndex{static_cast<std::uint32_t>(random())};
  if (random() % 8 == 0) {
    header.type = FrameType::kFence;
    return header;
  }
  header.data = random() & random();
  header.zero = ~header.data & random();
  if (random() % 4 == 0) header.data = 0;
  if (header.data == 0) {
    header.zero |= 1;
    return header;
  }
  header.codec = static_cast<std::uint8_t>(random() % 256);
  const auto size = static_cast<std::uint32_t>(page_count(header.data) * kPageSize);
  header.payload = header.codec == 0 ? size : static_cast<std::uint32_t>(1 + random() % size);
  return header;
}

void expect_refused(const FrameHeader& header, std::string_view why) {
  const auto decoded = decode_frame_header(encode(header));
  ASSERT_FALSE(decoded) << why;
  EXPECT_EQ(decoded.error().kind, ErrorKind::kProtocol);
  EXPECT_NE(decoded.error().message.find(why), std::string::npos) << decoded.error().message;
}

TEST(Frame, RandomHeadersSurviveARoundTrip) {
  std::mt19937_64 random(23);
  for (int i = 0; i < 10'000; ++i) {
    const FrameHeader header = random_valid(random);
    const auto decoded = decode_frame_header(encode(header));
    ASSERT_TRUE(decoded) << decoded.error().message;
    ASSERT_EQ(*decoded, header);
  }
}

TEST(Frame, RandomBytesAreRefusedOrMeanThemselves) {
  std::mt19937_64 random(24);
  int accepted = 0;
  for (int i = 0; i < 100'000; ++i) {
    FrameHeaderBytes bytes = encode(random_valid(random));
    for (auto n = random() % 3; n > 0; --n) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    const auto decoded = decode_frame_header(bytes);
    if (!decoded) {
      ASSERT_EQ(decoded.error().kind, ErrorKind::kProtocol);
      continue;
    }
    ++accepted;
    ASSERT_EQ(encode(*decoded), bytes);
    ASSERT_LE(decoded->payload, kChunkSize);
  }
  EXPECT_GT(accepted, 1000);
}

TEST(Frame, EachRuleIsKept) {
  const FrameHeader raw{.chunk = ChunkIndex{7}, .data = 3, .payload = 8192};
  const FrameHeader packed{.codec = 1, .chunk = ChunkIndex{7}, .data = 3, .payload = 8192};
  ASSERT_TRUE(decode_frame_header(encode(raw)));
  ASSERT_TRUE(decode_frame_header(encode(packed))) << "as long as its pages is the most that a codec may make";

  const auto with = [](FrameHeader header, auto change) {
    change(header);
    return header;
  };
  expect_refused(with(raw, [](auto& h) { h.zero = 2; }), "at once");
  expect_refused(with(raw, [](auto& h) { h.data = 0; }), "names no page");
  expect_refused(with(raw, [](auto& h) { h.data = 0, h.zero = 1; }), "no pages in it");
  expect_refused(with(raw, [](auto& h) { h.data = 0, h.zero = 1, h.payload = 0, h.codec = 1; }),
                 "codec but no payload");
  expect_refused(with(packed, [](auto& h) { h.payload = 0; }), "no payload");
  expect_refused(with(packed, [](auto& h) { h.payload = 8193; }), "8193 bytes for 8192");
  expect_refused(with(packed, [](auto& h) { h.payload = 0xffffffff; }), "4294967295 bytes");
  expect_refused(with(raw, [](auto& h) { h.payload = 8191; }), "raw payload of 8191");
  expect_refused(with(raw, [](auto& h) { h.type = FrameType{0}; }), "unknown type 0");
  expect_refused(with(raw, [](auto& h) { h.type = FrameType{3}; }), "unknown type 3");
  const FrameHeader fence{.type = FrameType::kFence, .chunk = ChunkIndex{9}};
  expect_refused(with(fence, [](auto& h) { h.codec = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.data = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.zero = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.payload = 1; }), "fence 9 carries pages");
}

TEST(Frame, ReservedBytesAreZero) {
  for (const std::size_t at : {2, 3, 28, 29, 30, 31}) {
    auto bytes = encode(FrameHeader{.type = FrameType::kFence, .chunk = ChunkIndex{1}});
    ASSERT_TRUE(decode_frame_header(bytes));
    bytes[at] = std::byte{1};
    const auto decoded = decode_frame_header(bytes);
    ASSERT_FALSE(decoded) << at;
    EXPECT_EQ(decoded.error().kind, ErrorKind::kProtocol);
  }
}

TEST(Frame, OtherLengthsAreNoHeader) {
  std::vector<std::byte> bytes(kFrameHeaderSize + 1);
  bytes[0] = std::byte{2};
  ASSERT_TRUE(decode_frame_header(Bytes(bytes).first(kFrameHeaderSize)));
  EXPECT_FALSE(decode_frame_header(bytes));
  for (std::size_t size = 0; size < kFrameHeaderSize; ++size) {
    EXPECT_FALSE(decode_frame_header(Bytes(bytes).first(size)));
  }
}

}  // namespace
}  // namespace godwit::wire::testing
