// Work shared out: each part is done once, on a thread of its own member, and an error is told.
#include "tracking/scan_crew.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/units.h"

namespace godwit::scan_crew_test {
namespace {

TEST(ScanThreads, AreAsManyAsMemoryAndCpusAreWorth) {
  EXPECT_EQ(scan_threads(0, 8), 1U);
  EXPECT_EQ(scan_threads(kGiB, 8), 1U);
  EXPECT_EQ(scan_threads(2 * kGiB, 8), 2U);
  EXPECT_EQ(scan_threads(48 * kGiB, 16), 16U);
  EXPECT_EQ(scan_threads(48 * kGiB, 2), 2U);
  EXPECT_EQ(scan_threads(4096 * kGiB, 256), 16U);
}

class ScanCrewTest : public ::testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override {
    auto crew = ScanCrew::open(RemoteProcess::open(::getpid()).value(), GetParam());
    ASSERT_TRUE(crew) << crew.error().message;
    crew_ = *std::move(crew);
  }
  std::unique_ptr<ScanCrew> crew_;
};

TEST_P(ScanCrewTest, DoesEachPartOnce) {
  EXPECT_EQ(crew_->members(), GetParam() == 1 ? 1U : GetParam() + 1);
  for (const std::size_t parts : {0, 1, 2, 16, 17, 5000}) {
    std::vector<std::atomic<int>> done(parts);
    std::vector<std::atomic<bool>> busy(crew_->members());
    const Status status = crew_->share(parts, [&](std::size_t member, PageScanner&, std::size_t part) -> Status {
      if (busy[member].exchange(true)) return fail(ErrorKind::kIo, "one member does two parts at once");
      ++done[part];
      busy[member] = false;
      return {};
    });
    EXPECT_TRUE(status) << status.error().message;
    EXPECT_TRUE(std::ranges::all_of(done, [](const auto& times) { return times == 1; })) << parts << " parts";
  }
}

/// Whoever has begun a part is waited for, however long it takes.
TEST_P(ScanCrewTest, ReturnsWhenAllIsDone) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> done = 0;
    ASSERT_TRUE(crew_->share(8, [&](std::size_t, PageScanner&, std::size_t) -> Status {
      ::usleep(1500);
      ++done;
      return {};
    }));
    ASSERT_EQ(done, 8);
  }
}

TEST_P(ScanCrewTest, TellsAnErrorOnceAndGoesOn) {
  const auto work = [](std::size_t, PageScanner&, std::size_t part) -> Status {
    return part == 77 ? Status(fail(ErrorKind::kPeerLost, "gone")) : Status{};
  };
  const Status status = crew_->share(100, work);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kPeerLost);
  EXPECT_TRUE(crew_->share(77, work));
}

INSTANTIATE_TEST_SUITE_P(Threads, ScanCrewTest, ::testing::Values(1U, 2U, 5U, 16U),
                         [](const auto& each) { return std::to_string(each.param); });

}  // namespace
}  // namespace godwit::scan_crew_test
