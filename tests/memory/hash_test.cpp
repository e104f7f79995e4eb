// Hashes and comparisons of sub-blocks: every byte counts, in its own sub-block only, and all tables agree.
#include <gtest/gtest.h>
#include <xxhash.h>

#include <set>
#include <vector>

#include "tests/memory/kernel_tables.h"

namespace godwit {
namespace {

using testing::key_from;
using testing::Pages;

class HashTest : public testing::KernelsTest {
 protected:
  HashTest() { testing::fill_at_random(page_.bytes, kPageSize, 1); }
  PageHashes hashes() const {
    PageHashes out{};
    kernels_->hash_page(page_.bytes, key_, out);
    return out;
  }

  Pages page_{1};
  HashKey key_ = key_from(2);
};

TEST_P(HashTest, IsTheLibrarysOwn) {
  const PageHashes found = hashes();
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
    const std::byte* const block = page_.bytes + i * kSubBlockSize;
    ASSERT_EQ(found[i], XXH3_64bits_withSecret(block, kSubBlockSize, key_.bytes.data(), key_.bytes.size())) << i;
  }
}

TEST_P(HashTest, EveryByteCountsInItsOwnSubBlock) {
  const PageHashes before = hashes();
  std::mt19937_64 random(3);
  for (std::size_t at = 0; at < kPageSize; ++at) {
    const auto flip = static_cast<std::byte>(1u << random() % 8);
    page_.bytes[at] ^= flip;
    PageHashes now = before;
    const auto changed = static_cast<SubBlockMask>(1u << at / kSubBlockSize);
    ASSERT_EQ(kernels_->rehash_page(page_.bytes, key_, now), changed) << at;
    ASSERT_EQ(now, hashes()) << at;
    page_.bytes[at] ^= flip;
    ASSERT_EQ(kernels_->rehash_page(page_.bytes, key_, now), changed) << at << ", and back";
    ASSERT_EQ(now, before) << at;
  }
}

TEST_P(HashTest, RehashingNamesAllThatChanged) {
  std::mt19937_64 random(4);
  PageHashes known = hashes();
  EXPECT_EQ(kernels_->rehash_page(page_.bytes, key_, known), 0u);
  for (int round = 0; round < 300; ++round) {
    // 0 and all of them first, then any.
    const auto mask = static_cast<SubBlockMask>(round == 0 ? 0 : round == 1 ? kAllSubBlocks : random());
    for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
      if ((mask >> i) & 1) page_.bytes[i * kSubBlockSize + random() % kSubBlockSize] ^= std::byte{0x10};
    }
    ASSERT_EQ(kernels_->rehash_page(page_.bytes, key_, known), mask);
  }
}

TEST_P(HashTest, EqualSubBlocksHashAlikeWhereverTheyLie) {
  for (unsigned i = 1; i < kSubBlocksPerPage; ++i) {
    std::memcpy(page_.bytes + i * kSubBlockSize, page_.bytes, kSubBlockSize);
  }
  const PageHashes found = hashes();
  EXPECT_EQ(std::set<std::uint64_t>(found.begin(), found.end()).size(), 1u);
}

TEST_P(HashTest, AnotherKeyGivesOtherHashes) {
  const PageHashes before = hashes();
  PageHashes now = before;
  key_ = key_from(5);
  EXPECT_EQ(kernels_->rehash_page(page_.bytes, key_, now), kAllSubBlocks);
  std::memset(page_.bytes, 0, kPageSize);  // zeros have no bytes of their own to differ by
  const PageHashes zeros = hashes();
  key_ = key_from(6);
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) EXPECT_NE(hashes()[i], zeros[i]);
}

TEST_P(HashTest, AgreesWithThePlainOne) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    testing::fill_at_random(page_.bytes, kPageSize, seed);
    key_ = key_from(1000 + seed);
    PageHashes expected{};
    plain().hash_page(page_.bytes, key_, expected);
    ASSERT_EQ(hashes(), expected) << seed;
  }
}

TEST_P(HashTest, HashesLieAnywhereThatFitsAWord) {
  const PageHashes expected = hashes();
  std::vector<std::uint64_t> words(kSubBlocksPerPage + 8);
  for (std::size_t offset = 0; offset < 8; ++offset) {
    auto* const place = reinterpret_cast<PageHashes*>(words.data() + offset);
    kernels_->hash_page(page_.bytes, key_, *place);
    ASSERT_EQ(*place, expected);
    ASSERT_EQ(kernels_->rehash_page(page_.bytes, key_, *place), 0u);
  }
}

TEST_P(HashTest, ComparingSeesEveryByte) {
  Pages old(1);
  std::memcpy(old.bytes, page_.bytes, kPageSize);
  ASSERT_EQ(kernels_->changed_sub_blocks(page_.bytes, old.bytes), 0u);
  for (std::size_t at = 0; at < kPageSize; ++at) {
    for (const auto flip : {std::byte{1}, std::byte{0x80}}) {
      page_.bytes[at] ^= flip;
      ASSERT_EQ(kernels_->changed_sub_blocks(page_.bytes, old.bytes), 1u << at / kSubBlockSize) << at;
      ASSERT_EQ(kernels_->changed_sub_blocks(old.bytes, page_.bytes), 1u << at / kSubBlockSize) << at;
      page_.bytes[at] ^= flip;
    }
  }
}

TEST_P(HashTest, ComparingNamesAllThatDiffer) {
  Pages old(1);
  std::mt19937_64 random(7);
  for (unsigned mask = 0; mask <= kAllSubBlocks; mask += mask < 32 ? 1 : 31) {
    std::memcpy(old.bytes, page_.bytes, kPageSize);
    for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
      if ((mask >> i) & 1) old.bytes[i * kSubBlockSize + random() % kSubBlockSize] ^= std::byte{0x08};
    }
    ASSERT_EQ(kernels_->changed_sub_blocks(page_.bytes, old.bytes), mask);
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, HashTest, testing::kAllTables, testing::name_of_table);

}  // namespace
}  // namespace godwit
