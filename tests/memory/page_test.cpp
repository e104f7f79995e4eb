// Page words: the runs and pages that they name.
#include "memory/page.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace godwit::page_test {
namespace {

using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

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

Runs runs_of_words(std::span<const PageWord> words) {
  Runs runs;
  for (PageRuns each(words); const auto run = each.next();) runs.emplace_back(run->first, run->count);
  return runs;
}

TEST(PageRuns, GoOnFromWordToWord) {
  EXPECT_EQ(runs_of_words({}), Runs{});
  EXPECT_EQ(runs_of_words(std::array<PageWord, 2>{}), Runs{});
  EXPECT_EQ(runs_of_words(std::array<PageWord, 3>{kAllPages, kAllPages, kAllPages}), (Runs{{0, 192}}));
  EXPECT_EQ(runs_of_words(std::array<PageWord, 3>{PageWord{1} << 63, kAllPages, 0b101}), (Runs{{63, 66}, {130, 1}}));
  EXPECT_EQ(runs_of_words(std::array<PageWord, 3>{0b110, 0, PageWord{1} << 63}), (Runs{{1, 2}, {191, 1}}));
}

TEST(PageRuns, MayBeTakenOutWhenTheyHaveBeenGiven) {
  std::array<PageWord, 3> words = {0b110, PageWord{3} << 62, 0b1011};
  std::vector<std::uint64_t> counts;
  for (PageRuns runs(words); const auto run = runs.next();) {
    counts.push_back(run->count);
    drop_pages(words, run->first, run->count);
  }
  EXPECT_EQ(counts, (std::vector<std::uint64_t>{2, 4, 1}));
  EXPECT_EQ(words, (std::array<PageWord, 3>{}));
}

}  // namespace
}  // namespace godwit::page_test
