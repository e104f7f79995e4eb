// Pages of one 64-bit value repeated: every table finds them, and nothing else.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/memory/kernel_tables.h"

namespace godwit::uniform_pages_test {
namespace {

using testing::Pages;

class UniformPagesTest : public testing::KernelsTest {
 protected:
  void fill(unsigned page, std::uint64_t value) {
    for (std::size_t at = 0; at < kPageSize; at += sizeof(value)) {
      std::memcpy(pages_.bytes + page * kPageSize + at, &value, sizeof(value));
    }
  }
  Pages pages_;
};

TEST_P(UniformPagesTest, EveryByteOfAPageCounts) {
  for (const std::uint64_t around : {std::uint64_t{0}, std::uint64_t{0x0123456789abcdef}}) {
    fill(1, around);
    for (std::size_t at = 0; at < kPageSize; ++at) {
      for (const auto flip : {std::byte{1}, std::byte{0x80}}) {
        pages_.bytes[kPageSize + at] ^= flip;
        ASSERT_EQ(kernels_->uniform_pages(pages_.bytes, 3), 0b101u) << "byte " << at;
        pages_.bytes[kPageSize + at] ^= flip;
      }
    }
    EXPECT_EQ(kernels_->uniform_pages(pages_.bytes, 3), 0b111u);
  }
}

TEST_P(UniformPagesTest, AnyValueMayRepeat) {
  constexpr std::uint64_t kValues[] = {
      0, 1, ~std::uint64_t{0}, 0xaaaaaaaaaaaaaaaa, 0x8000000000000000, 0x0123456789abcdef};
  for (unsigned page = 0; page < std::size(kValues); ++page) fill(page, kValues[page]);
  EXPECT_EQ(kernels_->uniform_pages(pages_.bytes, 64), kAllPages);
}

TEST_P(UniformPagesTest, LongerPatternsAreNotUniform) {
  for (std::size_t period = 2 * sizeof(std::uint64_t); period < kPageSize; period *= 2) {
    fill(0, 7);
    for (std::size_t at = 0; at < kPageSize; at += period) pages_.bytes[at] = std::byte{9};
    ASSERT_EQ(kernels_->uniform_pages(pages_.bytes, 1), 0u) << period;
  }
}

TEST_P(UniformPagesTest, EachOf64PagesHasItsBit) {
  for (unsigned page = 0; page < 64; ++page) fill(page, page * 0x0101010101010101u);
  EXPECT_EQ(kernels_->uniform_pages(pages_.bytes, 64), kAllPages);
  for (unsigned page = 0; page < 64; ++page) {
    pages_.bytes[page * kPageSize + page * 64] ^= std::byte{0x40};
    ASSERT_EQ(kernels_->uniform_pages(pages_.bytes, 64), ~(PageWord{1} << page));
    pages_.bytes[page * kPageSize + page * 64] ^= std::byte{0x40};
  }
}

TEST_P(UniformPagesTest, LooksAtNoPageBeyondTheCount) {
  testing::fill_at_random(pages_.bytes, kChunkSize, 1);
  EXPECT_EQ(kernels_->uniform_pages(pages_.bytes, 0), 0u);
  std::memset(pages_.bytes, 0, 5 * kPageSize);
  for (unsigned count = 1; count <= 64; ++count) {
    ASSERT_EQ(kernels_->uniform_pages(pages_.bytes, count), (PageWord{1} << std::min(count, 5u)) - 1);
  }
}

TEST_P(UniformPagesTest, AgreesWithThePlainOneOnSparsePages) {
  std::mt19937_64 random(11);
  PageWord seen_uniform = 0;
  PageWord seen_other = 0;
  for (int round = 0; round < 200; ++round) {
    for (unsigned page = 0; page < 64; ++page) fill(page, random() % 4);
    for (auto left = random() % 64; left > 0; --left) pages_.bytes[random() % kChunkSize] ^= std::byte{1};
    const auto count = static_cast<unsigned>(random() % 65);
    const PageWord uniform = plain().uniform_pages(pages_.bytes, count);
    ASSERT_EQ(kernels_->uniform_pages(pages_.bytes, count), uniform);
    seen_uniform |= uniform;
    seen_other |= ~uniform;
  }
  EXPECT_EQ(seen_uniform, kAllPages);
  EXPECT_EQ(seen_other, kAllPages);
}

INSTANTIATE_TEST_SUITE_P(Tables, UniformPagesTest, testing::kAllTables, testing::name_of_table);

}  // namespace
}  // namespace godwit::uniform_pages_test
