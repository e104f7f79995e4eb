// Page words: the runs and pages that they name.
#include "memory/page.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace godwit::page_test {
namespace {

using Runs = std::vector<std::pair<unsigned, unsigned>>;

Runs runs_of(PageWord word) {
  Runs runs;
  for_each_run(word, [&](unsigned first, unsigned length) { runs.emplace_back(first, length); });
  return runs;
}

TEST(PageWord, RunsOfEdgeCases) {
  EXPECT_EQ(runs_of(0), Runs{});
  EXPECT_EQ(runs_of(kAllPages), (Runs{{0, 64}}));
  EXPECT_EQ(runs_of(1), (Runs{{0, 1}}));
  EXPECT_EQ(runs_of(PageWord{1} << 63), (Runs{{63, 1}}));
  EXPECT_EQ(runs_of(PageWord{1} << 63 | 1), (Runs{{0, 1}, {63, 1}}));
  EXPECT_EQ(runs_of(0xf0f0), (Runs{{4, 4}, {12, 4}}));
}

TEST(PageWord, RunsAndPagesNameTheSamePages) {
  PageWord word = 0x9e3779b97f4a7c15;
  for (int i = 0; i < 1000; ++i) {
    word = word * 6364136223846793005u + 1442695040888963407u;
    PageWord from_runs = 0;
    PageWord from_pages = 0;
    for_each_run(word, [&](unsigned first, unsigned length) {
      for (unsigned page = first; page < first + length; ++page) from_runs |= PageWord{1} << page;
    });
    for_each_page(word, [&](unsigned page) { from_pages |= PageWord{1} << page; });
    ASSERT_EQ(from_runs, word);
    ASSERT_EQ(from_pages, word);
  }
}

}  // namespace
}  // namespace godwit::page_test
