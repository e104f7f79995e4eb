// Sub-blocks joined and put back: with every mask, from and to any address, and not a byte beyond.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/memory/kernel_tables.h"

namespace godwit::gather_test {
namespace {

using testing::Pages;
using Buffer = std::vector<std::byte>;

constexpr std::size_t kGuard = 128;  // longer than any vector
constexpr std::byte kMark{0xa7};

/// What gather is to give, byte by byte.
Buffer joined(const std::byte* page, SubBlockMask mask) {
  Buffer out;
  for (std::size_t at = 0; at < kPageSize; ++at) {
    if ((mask >> at / kSubBlockSize) & 1) out.push_back(page[at]);
  }
  return out;
}

class GatherTest : public testing::KernelsTest {
 protected:
  GatherTest() {
    testing::fill_at_random(page_.bytes, kPageSize, 1);
    testing::fill_at_random(old_.bytes, kPageSize, 2);
    for (std::size_t at = 0; at < kPageSize; ++at) changes_.bytes[at] = page_.bytes[at] ^ old_.bytes[at];
  }

  /// Calls gather(out) with room at an address that is `offset` off a page, and compares what it wrote.
  template <typename Gather>
  void expect_gathered(const Buffer& expected, std::size_t offset, Gather gather) {
    Pages room(2);
    std::memset(room.bytes, static_cast<int>(kMark), 2 * kPageSize);
    std::byte* const out = room.bytes + kGuard + offset;
    ASSERT_EQ(gather(out), out + expected.size());
    ASSERT_TRUE(std::equal(expected.begin(), expected.end(), out));
    const auto marked = [](std::byte byte) { return byte == kMark; };
    ASSERT_TRUE(std::all_of(room.bytes, out, marked)) << "wrote before its room";
    ASSERT_TRUE(std::all_of(out + expected.size(), room.bytes + 2 * kPageSize, marked)) << "wrote beyond its room";
  }

  /// Calls scatter(in, page) with input at such an address and nothing behind it, and compares the page.
  template <typename Scatter>
  void expect_scattered(const Buffer& input, std::size_t offset, const std::byte* before, const Buffer& after,
                        Scatter scatter) {
    // Memory of its own that ends with the input, so that a sanitizer sees a read beyond.
    Buffer in(offset + input.size());
    std::ranges::copy(input, in.begin() + static_cast<std::ptrdiff_t>(offset));
    Pages target(3);
    std::memset(target.bytes, static_cast<int>(kMark), 3 * kPageSize);
    std::byte* const page = target.bytes + kPageSize;
    std::memcpy(page, before, kPageSize);
    ASSERT_EQ(scatter(in.data() + offset, page), in.data() + in.size());
    ASSERT_TRUE(std::equal(after.begin(), after.end(), page));
    const auto marked = [](std::byte byte) { return byte == kMark; };
    ASSERT_TRUE(std::all_of(target.bytes, page, marked)) << "wrote before the page";
    ASSERT_TRUE(std::all_of(page + kPageSize, page + 2 * kPageSize, marked)) << "wrote beyond the page";
  }

  void expect_all(SubBlockMask mask, std::size_t offset) {
    const Buffer plain_blocks = joined(page_.bytes, mask);
    const Buffer xored_blocks = joined(changes_.bytes, mask);
    expect_gathered(plain_blocks, offset, [&](std::byte* out) { return kernels_->gather(page_.bytes, mask, out); });
    expect_gathered(xored_blocks, offset,
                    [&](std::byte* out) { return kernels_->gather_xor(page_.bytes, old_.bytes, mask, out); });
    Buffer after(old_.bytes, old_.bytes + kPageSize);
    for (std::size_t at = 0; at < kPageSize; ++at) {
      if ((mask >> at / kSubBlockSize) & 1) after[at] = page_.bytes[at];
    }
    expect_scattered(plain_blocks, offset, old_.bytes, after,
                     [&](const std::byte* in, std::byte* page) { return kernels_->scatter(in, mask, page); });
    expect_scattered(xored_blocks, offset, old_.bytes, after,
                     [&](const std::byte* in, std::byte* page) { return kernels_->scatter_xor(in, mask, page); });
  }

  Pages page_{1};
  Pages old_{1};
  Pages changes_{1};
};

TEST_P(GatherTest, ThereAndBackWithEveryKindOfMask) {
  std::vector<SubBlockMask> masks = {0, kAllSubBlocks, 0x5555, 0xaaaa, 0x00ff, 0xff00, 0x7ffe, 0x8001};
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
    masks.push_back(static_cast<SubBlockMask>(1u << i));
    masks.push_back(static_cast<SubBlockMask>(~(1u << i)));
  }
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) masks.push_back(static_cast<SubBlockMask>(random()));
  for (const SubBlockMask mask : masks) {
    ASSERT_EQ(joined(page_.bytes, mask).size(), sub_block_bytes(mask));
    ASSERT_NO_FATAL_FAILURE(expect_all(mask, 0)) << "mask " << mask;
  }
}

TEST_P(GatherTest, JoinedSubBlocksLieAnywhere) {
  for (std::size_t offset = 0; offset <= 65; ++offset) {
    for (const SubBlockMask mask : {SubBlockMask{0x8003}, kAllSubBlocks}) {
      ASSERT_NO_FATAL_FAILURE(expect_all(mask, offset)) << "offset " << offset << ", mask " << mask;
    }
  }
}

TEST_P(GatherTest, PagesFollowEachOtherInOneBuffer) {
  constexpr SubBlockMask kMasks[] = {0x0001, 0, 0xf00f, kAllSubBlocks, 0x0800};
  Buffer room(std::size(kMasks) * kPageSize);
  std::byte* out = room.data();
  for (const SubBlockMask mask : kMasks) out = kernels_->gather(page_.bytes, mask, out);
  const std::byte* in = room.data();
  for (const SubBlockMask mask : kMasks) {
    Pages target(1);
    in = kernels_->scatter(in, mask, target.bytes);
    ASSERT_EQ(joined(target.bytes, mask), joined(page_.bytes, mask));
    const auto others = static_cast<SubBlockMask>(~mask);
    ASSERT_EQ(joined(target.bytes, others), Buffer(sub_block_bytes(others))) << "touched what it was not told to";
  }
  EXPECT_EQ(in, out);
}

INSTANTIATE_TEST_SUITE_P(Tables, GatherTest, testing::kAllTables, testing::name_of_table);

}  // namespace
}  // namespace godwit::gather_test
