// What a verdict comes to in a round of copying, and what rounds and fences remember: values, without clock or I/O.
#include <gtest/gtest.h>

#include "engine/fence_watch.h"
#include "engine/rounds.h"

namespace godwit {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct StepCase {
  Verdict verdict;
  bool posted_again;
  bool handing_over;
  milliseconds since_harvest;
  Step step;
};

TEST(NextStep, IsWhatTheTableSays) {
  const StepCase table[] = {
      {GoOn{}, false, false, milliseconds(0), Step::kGoOn},
      {GoOn{}, true, false, milliseconds(999), Step::kGoOn},
      {Harvest{}, false, false, milliseconds(0), Step::kHarvest},
      {Harvest{}, true, false, milliseconds(0), Step::kHarvest},
      {SwitchOver{}, false, false, milliseconds(0), Step::kHandOver},
      {SwitchOver{}, true, false, milliseconds(0), Step::kHarvestForAll},
      // While the hypervisor gets ready to stop the guest, only time counts.
      {GoOn{}, false, true, milliseconds(249), Step::kGoOn},
      {Harvest{}, false, true, milliseconds(249), Step::kGoOn},
      {SwitchOver{}, true, true, milliseconds(249), Step::kGoOn},
      {GoOn{}, true, true, milliseconds(250), Step::kHarvestNearStop},
      {SwitchOver{}, false, true, milliseconds(250), Step::kHarvestNearStop},
  };
  for (std::size_t i = 0; i < std::size(table); ++i) {
    const StepCase& row = table[i];
    const Sample sample{.since_harvest = row.since_harvest, .handing_over = row.handing_over};
    EXPECT_EQ(next_step(row.verdict, Round{.posted_again = row.posted_again}, sample), row.step) << "row " << i;
  }
}

TEST(NextStep, ARoundBeginsWithAHarvestAndElseStaysTheSame) {
  const Round before{.leaves_out = false, .posted_again = true};
  for (const Step step : {Step::kGoOn, Step::kHandOver}) {
    EXPECT_FALSE(round_after(step, before).leaves_out);
    EXPECT_TRUE(round_after(step, before).posted_again);
  }
  for (const Step step : {Step::kHarvest, Step::kHarvestNearStop}) {
    EXPECT_TRUE(round_after(step, before).leaves_out);
    EXPECT_FALSE(round_after(step, before).posted_again);
  }
  EXPECT_FALSE(round_after(Step::kHarvestForAll, Round{}).leaves_out);
}

/// On a busy host a harvest may be held up for a hundred times as long as it works.
TEST(Rounds, TheScanTakesTheLeastOfTheLatestHarvests) {
  Rounds rounds;
  EXPECT_FALSE(rounds.scan.least());
  for (const int took : {380, 5, 400, 420}) rounds.harvested({.took = milliseconds(took)}, {});
  EXPECT_EQ(rounds.scan.least(), Duration(milliseconds(5)));
  for (const int took : {380, 390}) rounds.harvested({.took = milliseconds(took)}, {});
  EXPECT_EQ(rounds.scan.least(), Duration(milliseconds(380))) << "a guest that has grown";
}

TEST(Rounds, AnAppliedRoundTellsWhatTheLinkTakes) {
  Rounds rounds;
  rounds.harvested_at = Instant(seconds(1));
  rounds.look(true, 0, Instant(seconds(2)), 1000);
  EXPECT_EQ(rounds.rate, 0) << "no harvest yet: the first pass is not a round";
  EXPECT_TRUE(rounds.first_pass_over);
  rounds.begun_with.bytes_wire = 1000;
  rounds.harvested({.pages = 7}, Instant(seconds(10)));
  EXPECT_EQ(rounds.interval, seconds(9));
  EXPECT_EQ(rounds.harvests, 1u);
  rounds.look(false, 3, Instant(seconds(9)), 1500);
  EXPECT_EQ(rounds.rate, 0);
  rounds.look(true, 0, Instant(seconds(12)), 5000);
  EXPECT_DOUBLE_EQ(rounds.rate, 2000) << "4000 bytes from the harvest to the answer, two seconds";
  rounds.look(true, 0, Instant(seconds(13)), 9000);
  EXPECT_DOUBLE_EQ(rounds.rate, 2000) << "it was applied before";
  rounds.harvested({.pages = 7}, Instant(seconds(20)));
  rounds.look(false, 7, Instant(seconds(20)), 9000);
  rounds.look(true, 0, Instant(seconds(20) + milliseconds(19)), 9100);
  EXPECT_EQ(rounds.rate, 0) << "too short to tell";
}

TEST(Rounds, TheFirstPassIsOverWhenNoMoreWaitsThanAHarvestFound) {
  Rounds rounds;
  rounds.harvested({.pages = 100}, Instant(seconds(1)));
  rounds.look(false, 50, {}, 0);
  EXPECT_FALSE(rounds.first_pass_over) << "what a first harvest found says little";
  rounds.harvested({.pages = 100}, Instant(seconds(2)));
  rounds.look(false, 101, {}, 0);
  EXPECT_FALSE(rounds.first_pass_over);
  rounds.look(false, 100, {}, 0);
  EXPECT_TRUE(rounds.first_pass_over);
  rounds.look(false, 5000, {}, 0);
  EXPECT_TRUE(rounds.first_pass_over) << "for good";
}

TEST(FenceWatch, AFenceFollowsWhateverWasPosted) {
  FenceWatch fences;
  EXPECT_EQ(fences.due(), 1u) << "the first data";
  EXPECT_EQ(fences.due(), std::nullopt);
  EXPECT_FALSE(fences.is_answered(0));
  EXPECT_TRUE(fences.is_answered(1));
  fences.posted();
  EXPECT_EQ(fences.due(), 2u);
  EXPECT_FALSE(fences.is_answered(1)) << "an answer to an older fence says nothing of what came after it";
  EXPECT_TRUE(fences.is_answered(2));
}

TEST(FenceWatch, AnAnswerTellsOnceAndOnlyOfBytesThatWereSent) {
  FenceWatch fences;
  ASSERT_EQ(fences.due(), 1u);
  EXPECT_FALSE(fences.answered(1, Instant(seconds(2)), Instant(seconds(1)))) << "the lanes have not sent it";
  fences.sent(Instant(seconds(1)), 5 << 20);
  EXPECT_FALSE(fences.answered(0, Instant(seconds(2)), Instant(seconds(1))));
  EXPECT_TRUE(fences.answered(1, Instant(seconds(2)), Instant(seconds(1))));
  EXPECT_FALSE(fences.answered(1, Instant(seconds(3)), Instant(seconds(1))));
  fences.posted();
  ASSERT_EQ(fences.due(), 2u);
  fences.sent(Instant(seconds(4)), 5 << 20);
  EXPECT_FALSE(fences.answered(2, Instant(seconds(5)), Instant(seconds(4)))) << "nothing was sent since";
}

}  // namespace
}  // namespace godwit
