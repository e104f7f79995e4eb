#include "host/small_files.h"

#include <gtest/gtest.h>
#include <sched.h>

#include "host/cpus.h"
#include "tests/host/made_up_host.h"

namespace godwit {
namespace {

TEST(SmallFiles, ReadsTextAndNumbers) {
  const testing::MadeUpHost host;
  host.write("a", " text \n\n");
  host.write("n", "42\n");
  host.write("x", "0x8086\n");
  host.write("bad", "42 kB\n");
  EXPECT_EQ(read_small_file(host.path("a")), " text");
  EXPECT_EQ(read_number(host.path("n")), 42U);
  EXPECT_EQ(read_number(host.path("x")), 0x8086U);
  EXPECT_FALSE(read_number(host.path("bad")).has_value());
  EXPECT_FALSE(read_number(host.path("a")).has_value());
  EXPECT_FALSE(read_small_file(host.path("none")).has_value());
  EXPECT_FALSE(read_small_file(host.path("")).has_value()) << "a folder";
}

TEST(SmallFiles, CountsKernelLists) {
  EXPECT_EQ(count_of_list("0"), 1U);
  EXPECT_EQ(count_of_list("0-3,8"), 5U);
  EXPECT_EQ(count_of_list("0-1,4-5,9"), 5U);
  for (const char* bad : {"", "a", "3-1", "1-", "-1", "0,,1", "0-99999999999"})
    EXPECT_EQ(count_of_list(bad), 0U) << bad;
}

TEST(SmallFiles, FindsTheValueOfALine) {
  EXPECT_EQ(value_of_line("MemTotal:   12 kB\nMemFree: 3 kB\n", "MemFree"), "3 kB");
  EXPECT_EQ(value_of_line("model name\t: X: Y\n", "model name"), "X: Y");
  EXPECT_FALSE(value_of_line("MemTotals: 1", "MemTotal").has_value());
  EXPECT_FALSE(value_of_line("", "MemTotal").has_value());
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
}  // namespace godwit
