#include "wire/frame.h"

#include <gtest/gtest.h>

#include <random>

#include "wire/block.h"

namespace godwit::wire::testing::frame_test {
namespace {

FrameHeader random_valid(std::mt19937_64& random) {
  FrameHeader header;
  header.chunk = ChunkIndex{static_cast<std::uint32_t>(random())};
  if (random() % 8 == 0) {
    header.type = FrameType::kFence;
    return header;
  }
  PageWord left = random() | random();
  const auto some = [&](bool any) {
    const PageWord word = any ? left & random() & random() : 0;
    left &= ~word;
    return word;
  };
  header.data = some(random() % 4 != 0);
  header.fill = some(random() % 2 != 0);
  header.copies = some(random() % 2 != 0);
  header.delta = some(random() % 2 != 0);
  header.xored = header.delta & random();
  header.delta |= header.copies & random();
  header.zero = left | (header.named() == 0 ? 1 : 0);
  const auto bounds = block_bounds(header);
  header.block = static_cast<std::uint32_t>(bounds.least + random() % (bounds.most - bounds.least + 1));
  if (header.block == 0) return header;
  header.codec = static_cast<std::uint8_t>(random() % 256);
  header.payload = header.codec == 0 ? header.block : static_cast<std::uint32_t>(1 + random() % header.block);
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
    ASSERT_LE(decoded->payload, decoded->block);
    ASSERT_LE(decoded->block, kChunkSize);
  }
  EXPECT_GT(accepted, 1000);
}

TEST(Frame, EachRuleIsKept) {
  const FrameHeader raw{.chunk = ChunkIndex{7}, .data = 3, .payload = 8192, .block = 8192};
  const FrameHeader packed{.codec = 1, .chunk = ChunkIndex{7}, .data = 3, .payload = 8192, .block = 8192};
  const FrameHeader delta{.chunk = ChunkIndex{7}, .delta = 4, .xored = 4, .payload = 258, .block = 258};
  ASSERT_TRUE(decode_frame_header(encode(raw)));
  ASSERT_TRUE(decode_frame_header(encode(packed))) << "as long as its block is the most that a codec may make";
  ASSERT_TRUE(decode_frame_header(encode(delta)));

  const auto with = [](FrameHeader header, auto change) {
    change(header);
    return header;
  };
  expect_refused(with(raw, [](auto& h) { h.zero = 2; }), "a page twice");
  expect_refused(with(raw, [](auto& h) { h.fill = 2; }), "a page twice");
  expect_refused(with(raw, [](auto& h) { h.copies = 1; }), "a page twice");
  expect_refused(with(raw, [](auto& h) { h.delta = 1; }), "a page twice");
  expect_refused(with(delta, [](auto& h) { h.xored = 6; }), "no delta of its own");
  expect_refused(with(delta, [](auto& h) { h.copies = 4; }), "no delta of its own");
  expect_refused(with(raw, [](auto& h) { h.data = 0; }), "names no page");
  expect_refused(with(raw, [](auto& h) { h.data = 0, h.zero = 1; }), "where its pages make 0 to 0");
  expect_refused(with(raw, [](auto& h) { h.data = 0, h.zero = 1, h.block = 0; }), "no block in it");
  expect_refused(with(raw, [](auto& h) { h.data = 0, h.zero = 1, h.payload = h.block = 0, h.codec = 1; }),
                 "codec but no payload");
  expect_refused(with(packed, [](auto& h) { h.payload = 0; }), "no payload");
  expect_refused(with(packed, [](auto& h) { h.payload = 8193; }), "8193 bytes for a block of 8192");
  expect_refused(with(packed, [](auto& h) { h.payload = 0xffffffff; }), "4294967295 bytes");
  expect_refused(with(packed, [](auto& h) { h.block = 0xffffffff; }), "4294967295 bytes where its pages make");
  expect_refused(with(raw, [](auto& h) { h.payload = 8191; }), "raw payload of 8191");
  expect_refused(with(delta, [](auto& h) { h.block = h.payload = 257; }), "257 bytes where its pages make 258 to 3842");
  expect_refused(with(delta, [](auto& h) { h.block = h.payload = 3843; }), "3843 bytes where");
  expect_refused(with(raw, [](auto& h) { h.type = FrameType{0}; }), "unknown type 0");
  expect_refused(with(raw, [](auto& h) { h.type = FrameType{3}; }), "unknown type 3");
  const FrameHeader fence{.type = FrameType::kFence, .chunk = ChunkIndex{9}};
  expect_refused(with(fence, [](auto& h) { h.codec = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.data = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.zero = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.fill = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.copies = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.delta = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.xored = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.block = 1; }), "fence 9 carries pages");
  expect_refused(with(fence, [](auto& h) { h.payload = 1; }), "fence 9 carries pages");
}

TEST(Frame, ReservedBytesAreZero) {
  for (const std::size_t at : {2, 3}) {
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
}  // namespace godwit::wire::testing::frame_test
