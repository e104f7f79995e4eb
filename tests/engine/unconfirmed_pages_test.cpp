// Which pages go once more when the link is lost.
#include <gtest/gtest.h>

#include <map>

#include "engine/unconfirmed_pages.h"

namespace godwit::unconfirmed_pages_test {
namespace {

constexpr LaneShares kTwo{.lanes = 2, .in_a_row = 1};

std::map<std::uint32_t, PageWord> taken(UnconfirmedPages& pages) {
  std::map<std::uint32_t, PageWord> all;
  pages.take([&](ChunkIndex chunk, PageWord word) { all[chunk.value] |= word; });
  return all;
}
using Words = std::map<std::uint32_t, PageWord>;

TEST(UnconfirmedPages, AreThoseSentSinceTheFenceThatWasAnswered) {
  UnconfirmedPages pages(200);
  pages.add(ChunkIndex{0}, 0b11);
  pages.add(ChunkIndex{131}, 0b1000);
  for (const unsigned lane : {0U, 1U}) pages.fence(lane, kTwo);
  pages.add(ChunkIndex{0}, 0b100);
  pages.confirm();
  EXPECT_EQ(taken(pages), (Words{{0, 0b100}}));
  EXPECT_EQ(taken(pages), Words{}) << "each once";
}

TEST(UnconfirmedPages, OfAFenceWithoutAnAnswerAreAllBeforeItAndBehind) {
  UnconfirmedPages pages(200);
  pages.add(ChunkIndex{7}, 0b11);
  pages.fence(1, kTwo);
  pages.add(ChunkIndex{7}, 0b110);
  pages.add(ChunkIndex{199}, ~PageWord{0});
  EXPECT_EQ(taken(pages), (Words{{7, 0b111}, {199, ~PageWord{0}}}));
}

/// Chunks of both lanes lie in one group of words.
TEST(UnconfirmedPages, ALaneThatHasNotSentTheFenceKeepsItsOwn) {
  UnconfirmedPages pages(64);
  pages.add(ChunkIndex{2}, 1);
  pages.add(ChunkIndex{3}, 1);
  pages.fence(0, kTwo);
  pages.confirm();
  EXPECT_EQ(taken(pages), (Words{{3, 1}}));
}

}  // namespace
}  // namespace godwit::unconfirmed_pages_test
