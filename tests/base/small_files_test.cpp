#include "base/small_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/host/made_up_host.h"

namespace godwit::small_files_test {
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

TEST(SmallFiles, ReadsAWholeFileUpToItsLimit) {
  const testing::MadeUpHost host;
  host.write("a", "0123456789\n");
  const auto whole = read_whole_file(host.path("a"), 11);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(*whole, "0123456789\n");
  const auto too_long = read_whole_file(host.path("a"), 10);
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().kind, ErrorKind::kUnsupported);
}

TEST(SmallFiles, KnowsThisBootFromAnyOther) {
  EXPECT_EQ(boot_id().size(), 36U) << boot_id();
  EXPECT_EQ(boot_id(), boot_id());
}

TEST(SmallFiles, KnowsWhenAProcessBegan) {
  const auto own = read_start_time(::getpid());
  const auto first = read_start_time(1);
  ASSERT_TRUE(own) << own.error().message;
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_LE(*first, *own);
  EXPECT_GT(*own, 0U);
  EXPECT_FALSE(read_start_time(0x7fffffff));
}

}  // namespace
}  // namespace godwit::small_files_test
