// Every table that this host runs gives the plain one's answers, and the one asked for is the one that runs.
#include "memory/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>
#include <set>

namespace godwit {
namespace {

HostProfile this_host() {
  HostProfile host;
  host.avx2 = __builtin_cpu_supports("avx2") != 0;
  host.avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
  return host;
}

/// 64 pages of zeros, aligned as kernels want it.
struct Pages {
  std::byte* bytes = static_cast<std::byte*>(std::aligned_alloc(64, kChunkSize));
  Pages() { std::memset(bytes, 0, kChunkSize); }
  ~Pages() { std::free(bytes); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
};

class KernelsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto found = kernels_by_name(GetParam(), this_host());
    if (!found) GTEST_SKIP() << found.error().message;
    kernels_ = *found;
    ASSERT_EQ(kernels_->name, GetParam());
  }
  const Kernels* kernels_ = nullptr;
  Pages pages_;
};

TEST_P(KernelsTest, EveryByteOfAPageCounts) {
  for (std::size_t at = 0; at < kPageSize; ++at) {
    for (const auto value : {std::byte{1}, std::byte{0x80}}) {
      pages_.bytes[kPageSize + at] = value;
      ASSERT_EQ(kernels_->zero_pages(pages_.bytes, 3), 0b101u) << "byte " << at;
    }
    pages_.bytes[kPageSize + at] = std::byte{0};
  }
  EXPECT_EQ(kernels_->zero_pages(pages_.bytes, 3), 0b111u);
}

TEST_P(KernelsTest, EachOf64PagesHasItsBit) {
  EXPECT_EQ(kernels_->zero_pages(pages_.bytes, 64), kAllPages);
  for (unsigned page = 0; page < 64; ++page) {
    pages_.bytes[page * kPageSize + page * 64] = std::byte{1};
    ASSERT_EQ(kernels_->zero_pages(pages_.bytes, 64), ~(PageWord{1} << page));
    pages_.bytes[page * kPageSize + page * 64] = std::byte{0};
  }
}

TEST_P(KernelsTest, LooksAtNoPageBeyondTheCount) {
  std::memset(pages_.bytes, 1, kChunkSize);
  EXPECT_EQ(kernels_->zero_pages(pages_.bytes, 0), 0u);
  std::memset(pages_.bytes, 0, 5 * kPageSize);
  for (unsigned count = 1; count <= 64; ++count) {
    ASSERT_EQ(kernels_->zero_pages(pages_.bytes, count), (PageWord{1} << std::min(count, 5u)) - 1);
  }
}

TEST_P(KernelsTest, AgreesWithThePlainOnesOnSparsePages) {
  const Kernels* const plain = kernels_for(this_host()).front();
  ASSERT_EQ(plain->name, "plain");
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    std::memset(pages_.bytes, 0, kChunkSize);
    for (auto left = random() % 64; left > 0; --left) pages_.bytes[random() % kChunkSize] = std::byte{1};
    const auto count = static_cast<unsigned>(random() % 65);
    ASSERT_EQ(kernels_->zero_pages(pages_.bytes, count), plain->zero_pages(pages_.bytes, count));
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, KernelsTest, ::testing::Values("plain", "avx2", "avx512"),
                         [](const auto& table) { return std::string(table.param); });

TEST(Kernels, TablesAreDifferentCode) {
  std::set<PageWord (*)(const std::byte*, unsigned) noexcept> functions;
  for (const auto* kernels : kernels_for(this_host())) functions.insert(kernels->zero_pages);
  EXPECT_EQ(functions.size(), kernels_for(this_host()).size());
}

TEST(Kernels, TheBestIsTheLastThatTheHostRuns) {
  HostProfile host;
  EXPECT_EQ(best_kernels(host).name, "plain");
  EXPECT_EQ(kernels_for(host).size(), 1u);
  host.avx2 = true;
  EXPECT_EQ(best_kernels(host).name, "avx2");
  host.avx512 = true;
  EXPECT_EQ(best_kernels(host).name, "avx512");
  EXPECT_EQ(kernels_for(host).front()->name, "plain");
  EXPECT_EQ(kernels_for(host).size(), 3u);
  host.avx2 = false;
  EXPECT_EQ(best_kernels(host).name, "avx512");
  EXPECT_EQ(kernels_for(host).size(), 2u);
}

TEST(Kernels, NamesThatCannotBeHadAreRefused) {
  HostProfile host;
  const auto unable = kernels_by_name("avx512", host);
  ASSERT_FALSE(unable);
  EXPECT_EQ(unable.error().kind, ErrorKind::kUnsupported);
  const auto unknown = kernels_by_name("avx1024", host);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(unknown.error().message.find("plain, avx2, avx512"), std::string::npos);
}

}  // namespace
}  // namespace godwit
