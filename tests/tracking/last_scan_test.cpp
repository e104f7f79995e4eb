// The scan of a paused guest by many threads: every page that was written, none twice, whatever they share out.
#include "tracking/last_scan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/units.h"
#include "tests/tracking/claimed_pages.h"
#include "tests/tracking/writing_process.h"
#include "tracking/uffd_tracker.h"
#include "tracking/write_protection.h"

namespace godwit::last_scan_test {
namespace {

using testing::claim_all;
using testing::Kind;
using testing::Pages;
using testing::WritingProcess;

class LastScanTest : public ::testing::TestWithParam<std::tuple<Kind, unsigned>> {
 protected:
  // Five slices and a bit.
  static constexpr std::uint64_t kBytes = 330 * kMiB + 3 * kPageSize;
  void SetUp() override {
    if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
    ASSERT_TRUE(child_.ok());
    auto process = RemoteProcess::open(child_.pid());
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(*std::move(process));
    auto tracker = make_uffd_tracker(*process_,
                                     {{child_.address(), 128 * kMiB, ChunkIndex{600}},
                                      {child_.address() + 128 * kMiB, kBytes - 128 * kMiB, ChunkIndex{1200}}},
                                     nullptr, clock_, {.scan_threads = std::get<1>(GetParam())});
    ASSERT_TRUE(tracker) << tracker.error().message;
    tracker_ = *std::move(tracker);
  }
  /// Where a page of the process is on the board.
  static std::uint64_t on_board(std::uint64_t page) {
    constexpr std::uint64_t kOfFirst = 128 * kMiB / kPageSize;
    return page < kOfFirst ? 600 * kPagesPerChunk + page : 1200 * kPagesPerChunk + page - kOfFirst;
  }

  WritingProcess child_{std::get<0>(GetParam()), kBytes};
  std::optional<RemoteProcess> process_;
  SteadyClock clock_;
  std::unique_ptr<DirtyTracker> tracker_;
  Board board_{4096};
};

TEST_P(LastScanTest, FindsWhatWasWrittenAndNothingElse) {
  ASSERT_TRUE(child_.write(0, 200, 97));
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  Pages expected;
  const auto write = [&](std::uint32_t first, std::uint32_t count, std::uint32_t stride) {
    ASSERT_TRUE(child_.write(first, count, stride));
    for (std::uint32_t i = 0; i < count; ++i) expected.insert(on_board(first + i * stride));
  };
  write(5, 900, 91);
  write(128 * kMiB / kPageSize - 1, 2, 1);  // both sides of a border between ranges
  write(64 * kMiB / kPageSize - 1, 2, 1);   // and between slices
  write(kBytes / kPageSize - 1, 1, 1);
  const auto stats = tracker_->harvest_last(board_);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->pages, expected.size());
  EXPECT_EQ(claim_all(board_), expected);
  ASSERT_TRUE(tracker_->harvest_last(board_));
  EXPECT_EQ(claim_all(board_), expected) << "nothing was armed again: too much may be found, never too little";
}

TEST_P(LastScanTest, FindsEverythingOfABusyGuest) {
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  constexpr auto kAll = static_cast<std::uint32_t>(kBytes / kPageSize);
  ASSERT_TRUE(child_.write(0, (kAll + 1) / 2, 2));
  const auto stats = tracker_->harvest_last(board_);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->pages, (kAll + 1) / 2);
  EXPECT_EQ(board_.waiting(), stats->pages);
}

TEST_P(LastScanTest, SaysThatTheProcessHasEnded) {
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  child_.end();
  const auto stats = tracker_->harvest_last(board_);
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().kind, ErrorKind::kPeerLost);
}

TEST_P(LastScanTest, ABoardThatIsTooSmallIsAnError) {
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  ASSERT_TRUE(child_.write(0));
  ASSERT_TRUE(child_.write(kBytes / kPageSize - 1));
  Board small(700);
  const auto stats = tracker_->harvest_last(small);
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().kind, ErrorKind::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Threads, LastScanTest,
                         ::testing::Combine(::testing::Values(Kind::kMemfd, Kind::kPrivate), ::testing::Values(1U, 5U)),
                         [](const auto& each) {
                           return testing::name_of(std::get<0>(each.param)) + "_" +
                                  std::to_string(std::get<1>(each.param));
                         });

}  // namespace
}  // namespace godwit::last_scan_test
