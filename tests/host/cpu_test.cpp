#include "host/cpu.h"

#include <gtest/gtest.h>
#include <sched.h>

namespace godwit::cpu_test {
namespace {

constexpr std::uint32_t kLeaf1All = (1U << 27U) | (1U << 28U);
constexpr std::uint32_t kLeaf7Avx2 = 1U << 5U;
constexpr std::uint32_t kLeaf7Avx512 = (1U << 16U) | (1U << 17U) | (1U << 30U) | (1U << 31U);

TEST(InstructionSets, NeedTheCpuAndTheOperatingSystem) {
  const auto full = instruction_sets({kLeaf1All, kLeaf7Avx2 | kLeaf7Avx512, 0xe7});
  EXPECT_TRUE(full.avx2);
  EXPECT_TRUE(full.avx512);

  const auto not_saved = instruction_sets({kLeaf1All, kLeaf7Avx2 | kLeaf7Avx512, 0x07});
  EXPECT_TRUE(not_saved.avx2);
  EXPECT_FALSE(not_saved.avx512) << "XCR0 does not save the upper registers";

  const auto half_saved = instruction_sets({kLeaf1All, kLeaf7Avx2 | kLeaf7Avx512, 0x67});
  EXPECT_FALSE(half_saved.avx512) << "XCR0 does not save ZMM16 to ZMM31";

  const auto no_osxsave = instruction_sets({1U << 28U, kLeaf7Avx2 | kLeaf7Avx512, 0});
  EXPECT_FALSE(no_osxsave.avx2);
  EXPECT_FALSE(no_osxsave.avx512);

  EXPECT_FALSE(instruction_sets({}).avx2);
  EXPECT_FALSE(instruction_sets({}).avx512);
}

TEST(InstructionSets, NeedEveryPartOfAvx512) {
  for (const unsigned missing : {16U, 17U, 30U, 31U}) {
    const auto sets = instruction_sets({kLeaf1All, (kLeaf7Avx2 | kLeaf7Avx512) & ~(1U << missing), 0xe7});
    EXPECT_TRUE(sets.avx2);
    EXPECT_FALSE(sets.avx512) << "bit " << missing;
  }
}

TEST(InstructionSets, AgreeWithTheCompilerOnThisCpu) {
#if defined(__x86_64__)
  const auto sets = instruction_sets(read_cpuid());
  EXPECT_EQ(sets.avx2, __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(sets.avx512, __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                             __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0);
#else
  EXPECT_FALSE(instruction_sets(read_cpuid()).avx2);
#endif
}

TEST(UsableCpus, FollowTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_EQ(usable_cpus(), static_cast<unsigned>(CPU_COUNT(&before)));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(::sched_getcpu(), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(usable_cpus(), 1U);
  EXPECT_EQ(::sched_setaffinity(0, sizeof(before), &before), 0);
}

}  // namespace
}  // namespace godwit::cpu_test
