// Lanes that share threads which encode: what arrives is what the source has, however many threads there are and
// however often that changes.
#include <gtest/gtest.h>

#include <random>

#include "codec/encoder_pool.h"
#include "tests/support/lane_pair.h"

namespace godwit {
namespace {

using testing::LanePair;

struct PooledShape {
  unsigned lanes;
  unsigned threads;
  std::optional<CodecChoice> codec;
};

class PooledLanes : public ::testing::TestWithParam<PooledShape> {};

TEST_P(PooledLanes, TheSinkEndsWithTheSourcesBytes) {
  const auto& [count, threads, codec] = GetParam();
  std::mt19937_64 random(count + threads);
  SoftwareEncoders software;
  EncoderPool pool(software, threads);
  LanePair lanes(testing::ram_of_chunks(5 * count),
                 {.codec = codec, .delta_memory = 4 << 20, .lanes = count, .encoders = &pool});
  for (int round = 0; round < 40; ++round) {
    for (int again = 0; again < 6; ++again) {
      pool.allow(static_cast<unsigned>(random() % (threads + 1)));
      testing::write_pages(lanes, 60 * count, random);
      lanes.board.announce();
    }
    lanes.copy();
    ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
  }
  const auto counters = lanes.counters();
  EXPECT_GT(counters.pages_copied, 0U);
  EXPECT_GT(counters.pages_delta, 0U);
  EXPECT_EQ(counters.blocks_not_encoded, 0U);
  EXPECT_EQ(counters.encoders_given_up, 0U);
  EXPECT_TRUE(!codec || pool.use().blocks > 0);
}

INSTANTIATE_TEST_SUITE_P(Lanes, PooledLanes,
                         ::testing::Values(PooledShape{1, 1, CodecChoice{CodecId::kLz4, 1}},
                                           PooledShape{1, 8, CodecChoice{CodecId::kZstd, 1}},
                                           PooledShape{4, 3, CodecChoice{CodecId::kZstd, 3}},
                                           PooledShape{2, 16, CodecChoice{CodecId::kLz4, 1}},
                                           PooledShape{3, 5, std::nullopt}),
                         [](const auto& shape) {
                           const auto& codec = shape.param.codec;
                           return (codec ? std::string(name_of(codec->id)) : "auto") + "On" +
                                  std::to_string(shape.param.lanes) + "And" + std::to_string(shape.param.threads);
                         });

}  // namespace
}  // namespace godwit
