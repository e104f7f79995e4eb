// What a few bytes of a block tell of it.
#include "engine/block_sample.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "memory/page.h"

namespace godwit::block_sample_test {
namespace {

std::vector<std::byte> random_block(std::size_t size) {
  std::mt19937_64 random(11);
  std::vector<std::byte> block(size);
  for (auto& b : block) b = static_cast<std::byte>(random());
  return block;
}

TEST(SampledEntropy, TellsRandomBytesFromTextFromOneValue) {
  EXPECT_EQ(sampled_entropy(std::vector<std::byte>(kChunkSize, std::byte{7})), 0);
  const auto random = random_block(kChunkSize);
  EXPECT_GT(sampled_entropy(random), 7.3);
  EXPECT_LT(sampled_entropy(random), 8);
  const std::string words = "It moves running machines from one host to another, and nobody should notice. ";
  std::vector<std::byte> text(kChunkSize);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::byte>(words[i % words.size()]);
  EXPECT_GT(sampled_entropy(text), 3);
  EXPECT_LT(sampled_entropy(text), 5);
}

/// Heads of pages that are alike must not stand for the pages.
TEST(SampledEntropy, LooksAtAllPartsOfPages) {
  auto block = random_block(kChunkSize);
  for (std::size_t page = 0; page < kPagesPerChunk; ++page) {
    std::fill_n(block.begin() + static_cast<std::ptrdiff_t>(page * kPageSize), 512, std::byte{0});
  }
  EXPECT_GT(sampled_entropy(block), 6);
}

TEST(SampledEntropy, SaysNothingOfWhatIsTooSmall) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kLeastSampled - 1}) {
    EXPECT_EQ(sampled_entropy(random_block(size)), kUnsampled) << size;
  }
  for (const std::size_t size : {kLeastSampled, kLeastSampled + 1, kPageSize * 3 + 77, kChunkSize - 1}) {
    EXPECT_GT(sampled_entropy(random_block(size)), 7) << size;
  }
}

}  // namespace
}  // namespace godwit::block_sample_test
