// A device beside the codec levels: priced by what it makes a lane wait, not by CPU time that it does not cost.
#include <gtest/gtest.h>

#include "engine/governor.h"

namespace godwit::governed_device_test {
namespace {

constexpr std::size_t kBlock = 256 * 1024;
constexpr double kText = 4.7;  // bits a byte

TEST(GovernorWithADevice, ChoosesItWhileItsQueueIsShort) {
  Governor governor;
  EXPECT_EQ(governor.choose(BlockKind::kPages, kBlock, kText, 0.0), kDeviceLevel);
  EXPECT_LT(governor.choose(BlockKind::kPages, kBlock, kText), kDeviceLevel) << "without a device";
}

TEST(GovernorWithADevice, GoesPastOneThatIsBehind) {
  Governor governor;
  EXPECT_LT(governor.choose(BlockKind::kPages, kBlock, kText, 20.0), kDeviceLevel);
}

TEST(GovernorWithADevice, LearnsWhatHandingOverCosts) {
  Governor governor;
  for (int i = 0; i < 60; ++i) {
    governor.learn({.level = kDeviceLevel,
                    .entropy = kText,
                    .block_bytes = kBlock,
                    .wire_bytes = kBlock / 2,
                    .encoding = Duration(8 * kBlock),
                    .sending = Duration(kBlock / 10),
                    .elapsed = Duration(9 * kBlock)});
  }
  EXPECT_LT(governor.choose(BlockKind::kPages, kBlock, kText, 0.0), kDeviceLevel) << "8 ns a byte is too dear here";
}

TEST(GovernorWithADevice, LearnsWhatTheContentIsFromIt) {
  Governor with;
  Governor without;
  for (int i = 0; i < 60; ++i) {
    with.learn({.level = kDeviceLevel,
                .block_bytes = kBlock,
                .wire_bytes = kBlock / 8,
                .encoding = Duration(kBlock / 10),
                .sending = Duration(kBlock / 10),
                .waited = Duration(8 * kBlock),
                .queued_after = 4 << 20,
                .elapsed = Duration(10 * kBlock)});
  }
  EXPECT_GT(with.price(), without.price()) << "the link is what all wait for";
  EXPECT_NE(with.choose(BlockKind::kPages, kBlock, kUnsampled), 0U) << "blocks of this kind become small";
}

}  // namespace
}  // namespace godwit::governed_device_test
