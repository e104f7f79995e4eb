// The tables of kernels: which a host runs, by name and by choice. What kernels answer is in the tests beside this.
#include "memory/kernels.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "tests/memory/kernel_tables.h"

namespace godwit::kernels_test {
namespace {

/// The functions of one table, as addresses of any kind.
std::vector<void*> functions_of(const Kernels& table) {
  return {reinterpret_cast<void*>(table.uniform_pages), reinterpret_cast<void*>(table.hash_page),
          reinterpret_cast<void*>(table.rehash_page),   reinterpret_cast<void*>(table.changed_sub_blocks),
          reinterpret_cast<void*>(table.gather),        reinterpret_cast<void*>(table.gather_xor),
          reinterpret_cast<void*>(table.scatter),       reinterpret_cast<void*>(table.scatter_xor)};
}

TEST(Kernels, TablesAreDifferentCode) {
  std::set<void*> functions;
  std::size_t count = 0;
  for (const auto* kernels : kernels_for(testing::this_host())) {
    for (void* const function : functions_of(*kernels)) {
      ASSERT_NE(function, nullptr) << kernels->name;
      functions.insert(function);
      ++count;
    }
  }
  EXPECT_EQ(functions.size(), count);
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
}  // namespace godwit::kernels_test
