// Blocks: what a lane puts together is what the other end reads, and nothing else passes.
#include "wire/block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace godwit::wire::testing::block_test {
namespace {

void expect_refused(const FrameHeader& header, Bytes tail, std::string_view why) {
  const auto parsed = Tail::parse(header, tail);
  ASSERT_FALSE(parsed) << why;
  EXPECT_EQ(parsed.error().kind, ErrorKind::kProtocol);
  EXPECT_NE(parsed.error().message.find(why), std::string::npos) << parsed.error().message;
}

std::byte* write_sub_blocks(std::byte* to, SubBlockMask mask, unsigned value) {
  std::memset(to, static_cast<int>(value), sub_block_bytes(mask));
  return to;
}

TEST(Block, TheTailThatWasBuiltIsTheOneThatIsRead) {
  std::mt19937_64 random(3);
  TailBuilder builder;
  for (int round = 0; round < 200; ++round) {
    builder.clear();
    FrameHeader header{.chunk = ChunkIndex{9}};
    std::vector<std::uint64_t> fills;
    std::vector<PageReference> copies;
    std::vector<SubBlockMask> masks;
    std::vector<std::byte> changed;
    for (unsigned page = 0; page < kPagesPerChunk; ++page) {
      const PageWord bit = PageWord{1} << page;
      const auto add_delta = [&] {
        header.delta |= bit;
        masks.push_back(static_cast<SubBlockMask>(1 + random() % (kAllSubBlocks - 1)));
        write_sub_blocks(builder.sub_blocks(), masks.back(), page);
        changed.resize(changed.size() + sub_block_bytes(masks.back()), static_cast<std::byte>(page));
        builder.add_delta(masks.back());
      };
      switch (random() % 4) {
        case 0:
          header.fill |= bit;
          fills.push_back(random());
          builder.add_fill(fills.back());
          break;
        case 1:
          header.copies |= bit;
          copies.push_back({ChunkIndex{static_cast<std::uint32_t>(10 + random() % 1000)},
                            static_cast<std::uint32_t>(random() % kPagesPerChunk)});
          builder.add_copy(copies.back());
          if (random() % 2 == 0) add_delta();
          break;
        case 2:
          add_delta();
          break;
        default:
          break;
      }
    }
    const Bytes built = builder.finish();
    const auto bounds = block_bounds(header);
    ASSERT_GE(built.size(), bounds.least);
    ASSERT_LE(built.size(), bounds.most);
    const auto tail = Tail::parse(header, built);
    ASSERT_TRUE(tail) << tail.error().message;
    for (std::size_t i = 0; i < fills.size(); ++i) ASSERT_EQ(tail->fill(i), fills[i]);
    for (std::size_t i = 0; i < copies.size(); ++i) ASSERT_EQ(tail->copy(i), copies[i]);
    for (std::size_t i = 0; i < masks.size(); ++i) ASSERT_EQ(tail->mask(i), masks[i]);
    ASSERT_TRUE(std::ranges::equal(tail->sub_blocks(), changed));
  }
}

TEST(Block, NoBlockIsLongerThanItsPages) {
  for (unsigned pages = 1; pages <= kPagesPerChunk; ++pages) {
    const PageWord word = kAllPages >> (kPagesPerChunk - pages);
    EXPECT_EQ(block_bounds({.data = word}).most, pages * kPageSize);
    EXPECT_LT(block_bounds({.delta = word}).most, pages * kPageSize);
    EXPECT_LT(block_bounds({.fill = word}).most, pages * kPageSize);
    EXPECT_LT(block_bounds({.copies = word}).most, pages * kPageSize);
    EXPECT_LT(block_bounds({.copies = word, .delta = word}).most, pages * kPageSize);
  }
}

TEST(Block, WhatDoesNotFitIsRefused) {
  TailBuilder builder;
  const FrameHeader delta{.chunk = ChunkIndex{7}, .delta = 3};
  for (const SubBlockMask mask : {SubBlockMask{1}, SubBlockMask{0x8001}}) {
    write_sub_blocks(builder.sub_blocks(), mask, 1);
    builder.add_delta(mask);
  }
  const Bytes built = builder.finish();
  ASSERT_TRUE(Tail::parse(delta, built));
  std::vector<std::byte> bytes(built.begin(), built.end());
  for (std::size_t size = 0; size < bytes.size(); ++size) ASSERT_FALSE(Tail::parse(delta, Bytes(bytes).first(size)));
  expect_refused(delta, Bytes(bytes).first(3), "too short");
  expect_refused(delta, Bytes(bytes).first(bytes.size() - 1), "of sub-blocks where its masks name 768");
  bytes.push_back({});
  expect_refused(delta, bytes, "of sub-blocks where its masks name 768");
  bytes.pop_back();
  bytes[0] = std::byte{0};
  expect_refused(delta, bytes, "a delta with the mask 0x0000");
  bytes[0] = bytes[1] = std::byte{0xff};
  expect_refused(delta, bytes, "a delta with the mask 0xffff");
}

TEST(Block, ReferencesThatMeanNoOtherPageAreRefused) {
  TailBuilder builder;
  const FrameHeader header{.chunk = ChunkIndex{7}, .copies = 1};
  builder.add_copy({ChunkIndex{8}, 64});
  expect_refused(header, builder.finish(), "refers to page 64");
  builder.clear();
  builder.add_copy({ChunkIndex{7}, 1});
  expect_refused(header, builder.finish(), "the same frame's chunk");
}

}  // namespace
}  // namespace godwit::wire::testing::block_test
