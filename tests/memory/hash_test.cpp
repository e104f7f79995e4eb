// Hashes and comparisons of sub-blocks: every byte counts, in its own sub-block only, and all tables agree.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "tests/memory/kernel_tables.h"
#include "tests/support/hash_key.h"

namespace godwit::hash_test {
namespace {

using testing::hash_key_from;
using testing::Pages;

constexpr std::uint64_t kUpper = std::uint64_t{1} << 32;

/// The formula of HashKey, word by word.
std::uint64_t sum_by(const HashKey::Function& function, const std::byte* sub_block) {
  std::uint64_t sum = function.start;
  for (unsigned i = 0; i < kWordsPerSubBlock; ++i) {
    std::uint64_t word = 0;
    for (unsigned byte = 0; byte < 4; ++byte) word |= std::uint64_t(sub_block[4 * i + byte]) << 8 * byte;
    sum += (function.upper[i] * kUpper + function.lower[i]) * word;
  }
  return sum;
}
std::uint64_t hash_by_formula(const HashKey& key, const std::byte* sub_block) {
  return sum_by(key.a, sub_block) / kUpper * kUpper + sum_by(key.b, sub_block) / kUpper;
}

class HashTest : public testing::KernelsTest {
 protected:
  HashTest() { testing::fill_at_random(page_.bytes, kPageSize, 1); }
  PageHashes hashes() const {
    PageHashes out{};
    kernels_->hash_page(page_.bytes, key_, out);
    return out;
  }

  Pages page_{1};
  HashKey key_ = hash_key_from(2);
};

TEST_P(HashTest, FollowsTheFormula) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    testing::fill_at_random(page_.bytes, kPageSize, seed);
    key_ = hash_key_from(1000 + seed);
    // The largest words and factors, for all carries there are.
    if (seed % 4 == 1 || seed % 4 == 3) std::memset(page_.bytes, 0xff, kPageSize);
    if (seed % 4 == 2 || seed % 4 == 3) std::ranges::fill(key_.bytes(), std::byte{0xff});
    const PageHashes found = hashes();
    for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
      ASSERT_EQ(found[i], hash_by_formula(key_, page_.bytes + i * kSubBlockSize)) << seed << ", " << i;
    }
  }
}

TEST_P(HashTest, GivesWhatWasComputedByHand) {
  key_ = HashKey{};
  key_.a.start = 0x1'ffffffff;
  key_.a.lower[0] = 1;   // times 3: carries into the upper half, 0x2'00000002
  key_.a.upper[63] = 5;  // times 7: 35 more there
  key_.b.start = 0x10'00000000;
  key_.b.lower[1] = 0xffffffff;
  key_.b.upper[1] = 0xffffffff;   // -1, times 2: 0xf'fffffffe
  key_.b.lower[62] = 0x80000000;  // times 0x80000000: 0x40000000'00000000 more
  std::memset(page_.bytes, 0, kPageSize);
  std::byte* const block = page_.bytes + 9 * kSubBlockSize;
  block[0 * 4] = std::byte{3};
  block[1 * 4] = std::byte{2};
  block[62 * 4 + 3] = std::byte{0x80};
  block[63 * 4] = std::byte{7};
  const PageHashes found = hashes();
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
    EXPECT_EQ(found[i], i == 9 ? 0x00000025'4000000fu : 0x00000001'00000010u) << i;
  }
}

// Two pointers to places close by, 64 bytes apart, that swap places. XXH3 multiplies the halves of a word with each
// other: where two halves of its key are equal, which is so for one key in 2^32, it misses every second or third such
// swap.
TEST_P(HashTest, SeesSwappedPointersAlsoWhereHalvesOfTheKeyCollide) {
  std::mt19937_64 random(8);
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    const HashKey fair = hash_key_from(2000 + seed);
    const auto sub_block = static_cast<unsigned>(random() % kSubBlocksPerPage);
    const auto one = static_cast<unsigned>(random() % 24 * 2);  // as words; a pointer has two
    const auto other = one + 16;
    const std::uint64_t pointer = 0x7f1a'00000000 + random() % kUpper / 8 * 8;
    const std::uint64_t close_by = pointer ^ std::uint64_t{8} << random() % 20;
    const auto put = [&](unsigned word, std::uint64_t value) {
      std::memcpy(page_.bytes + sub_block * kSubBlockSize + word * sizeof(std::uint32_t), &value, sizeof(value));
    };
    for (const auto halves : {&HashKey::Function::lower, &HashKey::Function::upper}) {
      for (const auto function : {&HashKey::a, &HashKey::b}) {
        key_ = fair;
        (key_.*function.*halves)[one] = (key_.*function.*halves)[other];
        put(one, pointer);
        put(other, close_by);
        PageHashes known = hashes();
        put(one, close_by);
        put(other, pointer);
        ASSERT_EQ(kernels_->rehash_page(page_.bytes, key_, known), 1u << sub_block) << seed;
      }
    }
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
  key_ = hash_key_from(5);
  EXPECT_EQ(kernels_->rehash_page(page_.bytes, key_, now), kAllSubBlocks);
  std::memset(page_.bytes, 0, kPageSize);  // zeros have no bytes of their own to differ by
  const PageHashes zeros = hashes();
  key_ = hash_key_from(6);
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) EXPECT_NE(hashes()[i], zeros[i]);
}

TEST_P(HashTest, AgreesWithThePlainOne) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    testing::fill_at_random(page_.bytes, kPageSize, seed);
    key_ = hash_key_from(1000 + seed);
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
}  // namespace godwit::hash_test
