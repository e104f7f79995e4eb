// The tracker against real memory of another process: every page written is posted, no other is, and what disks may
// still write is posted again.
#include "tracking/uffd_tracker.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tracking/claimed_pages.h"
#include "tests/tracking/huge_pages.h"
#include "tests/tracking/writing_process.h"
#include "tracking/page_scanner.h"
#include "tracking/write_protection.h"

namespace godwit::uffd_tracker_test {
namespace {

constexpr std::uint32_t kAllChunks = ~std::uint32_t{0};

using testing::claim_all;
using testing::Kind;
using testing::Pages;
using testing::SomeHugePages;
using testing::WritingProcess;

constexpr std::uint64_t kHugePage = 2 << 20;

#define SKIP_WITHOUT_KERNEL_SUPPORT() \
  if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message

/// As with pages of 1 GiB on kernels that arm 2 MiB at most: a huge page that a scan cannot take as a whole. Here half
/// of one is asked for, which is the same to the kernel.
TEST(TrackingTrial, SaysWhatCannotBeArmed) {
  SKIP_WITHOUT_KERNEL_SUPPORT();
  SomeHugePages huge_pages(8);
  if (!huge_pages.ok()) GTEST_SKIP() << "no huge pages can be had here (vm.nr_hugepages)";
  WritingProcess child(Kind::kHuge, 4 * kHugePage);
  ASSERT_TRUE(child.ok() && child.write(0));  // of a page that is not there the kernel arms any part
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  {
    auto protection = WriteProtection::create(*process, nullptr);
    ASSERT_TRUE(protection && protection->cover(child.address(), kHugePage));
    auto scanner = PageScanner::open(*process);
    ASSERT_TRUE(scanner);
    EXPECT_FALSE(scanner->arm(child.address(), kHugePage / 2));
  }
  const Status half = try_tracking(*process, child.address(), kHugePage / 2, nullptr);
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(half.error().message.find("pages of 1 MiB"), std::string::npos) << half.error().message;
  EXPECT_TRUE(try_tracking(*process, child.address(), kHugePage, nullptr));
  EXPECT_TRUE(child.write(0));
}

class UffdTracker : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_KERNEL_SUPPORT();
    if (GetParam() == Kind::kHuge) {
      huge_pages_.emplace(8);
      if (!huge_pages_->ok()) GTEST_SKIP() << "no huge pages can be had here (vm.nr_hugepages)";
    }
    // The last chunk of small pages is cut short.
    bytes_ = GetParam() == Kind::kHuge ? 4 * kHugePage : 5 * kChunkSize + 3 * kPageSize;
    child_.emplace(GetParam(), bytes_);
    ASSERT_TRUE(child_->ok());
    auto process = RemoteProcess::open(child_->pid());
    ASSERT_TRUE(process);
    process_.emplace(*std::move(process));
  }
  std::unique_ptr<DirtyTracker> track(std::unique_ptr<DiskWrites> disk_writes = nullptr) {
    auto tracker =
        make_uffd_tracker(*process_, {{child_->address(), bytes_, ChunkIndex{2}}}, std::move(disk_writes), clock_);
    EXPECT_TRUE(tracker) << tracker.error().message;
    return *std::move(tracker);
  }
  Pages harvest(DirtyTracker& tracker) {
    const auto stats = tracker.harvest(board_);
    EXPECT_TRUE(stats) << stats.error().message;
    return claim_all(board_);
  }
  /// What must be posted when these pages of the block were written: the block begins at chunk 2, and huge pages count
  /// whole.
  Pages expected(std::initializer_list<std::uint64_t> written) const {
    const std::uint64_t granule = GetParam() == Kind::kHuge ? kHugePage / kPageSize : 1;
    Pages pages;
    for (const std::uint64_t page : written) {
      for (std::uint64_t i = 0; i < granule; ++i) pages.insert(2 * kPagesPerChunk + page / granule * granule + i);
    }
    return pages;
  }

  std::uint64_t bytes_ = 0;
  std::optional<SomeHugePages> huge_pages_;
  std::optional<WritingProcess> child_;
  std::optional<RemoteProcess> process_;
  SteadyClock clock_;
  Board board_{64};
};

INSTANTIATE_TEST_SUITE_P(Kinds, UffdTracker, ::testing::Values(Kind::kMemfd, Kind::kTmpfs, Kind::kPrivate, Kind::kHuge),
                         [](const auto& param) { return testing::name_of(param.param); });

TEST_P(UffdTracker, PostsWhatIsWrittenAndNothingElse) {
  ASSERT_TRUE(child_->write(0, 3));  // some pages exist before, some do not
  auto tracker = track();
  ASSERT_TRUE(tracker->start(kAllChunks));
  EXPECT_EQ(harvest(*tracker), Pages{}) << "start() swallows what was there before";
  ASSERT_TRUE(child_->write(1));
  ASSERT_TRUE(child_->write(63, 2));
  ASSERT_TRUE(child_->write(200));
  EXPECT_EQ(harvest(*tracker), expected({1, 63, 64, 200}));
  EXPECT_EQ(harvest(*tracker), Pages{});
  ASSERT_TRUE(child_->write(200));
  EXPECT_EQ(harvest(*tracker), expected({200})) << "harvesting armed it again";
  const auto last = static_cast<std::uint32_t>(bytes_ / kPageSize - 1);
  ASSERT_TRUE(child_->write(last));
  EXPECT_EQ(harvest(*tracker), expected({last}));
}

/// Memory that is not moved is left alone, though the tracker was made for it.
TEST_P(UffdTracker, WatchesOnlyTheChunksThatItIsStartedFor) {
  auto tracker = track();  // the block begins at chunk 2
  ASSERT_TRUE(tracker->start(2));
  ASSERT_TRUE(child_->write(1));
  EXPECT_EQ(harvest(*tracker), Pages{});
  ASSERT_TRUE(tracker->stop());
}

TEST_P(UffdTracker, SeesWritesByTheKernel) {
  auto tracker = track();
  ASSERT_TRUE(tracker->start(kAllChunks));
  ASSERT_TRUE(child_->write_by_kernel(70));
  EXPECT_EQ(harvest(*tracker), expected({70}));
}

TEST_P(UffdTracker, TakesReadingForNoWriting) {
  ASSERT_TRUE(child_->write(0, 130));
  auto tracker = track();
  ASSERT_TRUE(tracker->start(kAllChunks));
  ASSERT_TRUE(child_->read(0, 320));  // pages that exist and pages that do not
  if (GetParam() != Kind::kPrivate) {
    EXPECT_EQ(harvest(*tracker), Pages{});
  } else {
    // Reading a page that never existed may count: the kernel maps the page of zeros.
    const Pages pages = harvest(*tracker);
    EXPECT_TRUE(pages.empty() || *pages.begin() >= 2 * kPagesPerChunk + 130);
  }
}

TEST_P(UffdTracker, PostsEverythingWhenEverythingIsWritten) {
  auto tracker = track();
  ASSERT_TRUE(tracker->start(kAllChunks));
  const auto count = static_cast<std::uint32_t>(bytes_ / kPageSize);
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(child_->write(0, count));
    const Pages pages = harvest(*tracker);
    EXPECT_EQ(pages.size(), count);
    EXPECT_EQ(*pages.begin(), 2 * kPagesPerChunk);
    EXPECT_EQ(*pages.rbegin(), 2 * kPagesPerChunk + count - 1);
  }
}

// More stretches than one call of the kernel's answers at once.
TEST_P(UffdTracker, GoesOnWhereTheKernelsAnswerWasFull) {
  if (GetParam() == Kind::kHuge) GTEST_SKIP() << "would take 20000 huge pages";
  constexpr std::uint32_t kPages = 20000;
  WritingProcess large(GetParam(), kPages * kPageSize);
  ASSERT_TRUE(large.ok());
  const auto process = RemoteProcess::open(large.pid());
  ASSERT_TRUE(process);
  auto tracker = make_uffd_tracker(*process, {{large.address(), kPages * kPageSize, ChunkIndex{0}}}, nullptr, clock_);
  ASSERT_TRUE(tracker);
  ASSERT_TRUE((*tracker)->start(kAllChunks));
  ASSERT_TRUE(large.write(1, kPages / 2, 2));
  Pages written;
  for (std::uint32_t page = 1; page < kPages; page += 2) written.insert(page);
  Board board(kPages / kPagesPerChunk + 1);
  const auto stats = (*tracker)->harvest(board);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->pages, written.size());
  EXPECT_EQ(claim_all(board), written);
}

// As when the host swaps: the page keeps its contents and leaves the page table.
TEST_P(UffdTracker, SeesAWriteOfAPageThatLeftThePageTable) {
  if (GetParam() == Kind::kPrivate || GetParam() == Kind::kHuge) GTEST_SKIP() << "only shared pages leave it so";
  ASSERT_TRUE(child_->write(0, 100));
  auto tracker = track();
  ASSERT_TRUE(tracker->start(kAllChunks));
  ASSERT_TRUE(child_->write(5));
  ASSERT_TRUE(child_->discard(5));
  EXPECT_EQ(harvest(*tracker), expected({5}));
}

TEST_P(UffdTracker, CanBeStoppedAndStartedAgain) {
  auto tracker = track();
  EXPECT_FALSE(tracker->harvest(board_));
  EXPECT_TRUE(tracker->stop());
  ASSERT_TRUE(tracker->start(kAllChunks));
  EXPECT_FALSE(tracker->start(kAllChunks));
  ASSERT_TRUE(child_->write(5));
  ASSERT_TRUE(tracker->stop());
  EXPECT_FALSE(tracker->harvest(board_));
  ASSERT_TRUE(tracker->stop());
  ASSERT_TRUE(child_->write(6));
  ASSERT_TRUE(tracker->start(kAllChunks));
  ASSERT_TRUE(child_->write(7));
  EXPECT_EQ(harvest(*tracker), expected({7}));
}

TEST_P(UffdTracker, SaysThatTheProcessHasEnded) {
  auto tracker = track();
  ASSERT_TRUE(tracker->start(kAllChunks));
  child_->end();
  const auto stats = tracker->harvest(board_);
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().kind, ErrorKind::kPeerLost) << stats.error().message;
}

TEST_P(UffdTracker, AnnouncesTheBoard) {
  auto tracker = track();
  ASSERT_TRUE(tracker->start(kAllChunks));
  const auto epoch = board_.epoch();
  harvest(*tracker);
  EXPECT_GT(board_.epoch(), epoch);
}

TEST(MakeUffdTracker, RefusesRangesThatAreNone) {
  SKIP_WITHOUT_KERNEL_SUPPORT();
  WritingProcess child(Kind::kMemfd, kChunkSize);
  ASSERT_TRUE(child.ok());
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  SteadyClock clock;
  const auto make = [&](std::uint64_t address, std::uint64_t length) {
    return make_uffd_tracker(*process, {{address, length, ChunkIndex{0}}}, nullptr, clock);
  };
  EXPECT_FALSE(make(child.address() + 1, kPageSize));
  EXPECT_FALSE(make(child.address(), 0));
  EXPECT_FALSE(make(child.address(), 100));
  EXPECT_FALSE(make(child.address(), ~std::uint64_t{0xfff}));
  auto unmapped = make(0x10000, kPageSize);
  ASSERT_TRUE(unmapped);
  EXPECT_EQ((*unmapped)->start(kAllChunks).error().kind, ErrorKind::kInvalidArgument);
}

// Anonymous memory that is given back reads as zeros from then on: a change like any other.
TEST(UffdTrackerPrivate, SeesMemoryGivenBack) {
  SKIP_WITHOUT_KERNEL_SUPPORT();
  WritingProcess child(Kind::kPrivate, kChunkSize);
  ASSERT_TRUE(child.ok());
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  SteadyClock clock;
  auto tracker = make_uffd_tracker(*process, {{child.address(), kChunkSize, ChunkIndex{0}}}, nullptr, clock);
  ASSERT_TRUE(tracker);
  ASSERT_TRUE(child.write(0, 64));
  ASSERT_TRUE((*tracker)->start(kAllChunks));
  ASSERT_TRUE(child.discard(17, 2));
  Board board(1);
  ASSERT_TRUE((*tracker)->harvest(board));
  EXPECT_EQ(claim_all(board), (Pages{17, 18}));
}

/// Plays a script of looks, and notes when it is asked.
class FakeDiskWrites final : public DiskWrites {
 public:
  explicit FakeDiskWrites(std::function<Result<std::vector<PagesOfChunk>>()> look) : look_(std::move(look)) {}
  Result<std::vector<PagesOfChunk>> in_flight() override { return look_(); }

 private:
  std::function<Result<std::vector<PagesOfChunk>>()> look_;
};

class UffdTrackerDisks : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_KERNEL_SUPPORT();
    ASSERT_TRUE(child_.ok());
    auto process = RemoteProcess::open(child_.pid());
    ASSERT_TRUE(process);
    process_.emplace(*std::move(process));
    auto tracker = make_uffd_tracker(*process_, {{child_.address(), 2 * kChunkSize, ChunkIndex{0}}},
                                     std::make_unique<FakeDiskWrites>([this] { return look_(); }), clock_);
    ASSERT_TRUE(tracker);
    tracker_ = *std::move(tracker);
  }
  static std::vector<PagesOfChunk> pages(PageWord word) { return {{ChunkIndex{1}, word}}; }
  WritingProcess child_{Kind::kMemfd, 2 * kChunkSize};
  std::optional<RemoteProcess> process_;
  SteadyClock clock_;
  std::function<Result<std::vector<PagesOfChunk>>()> look_ = [] { return std::vector<PagesOfChunk>{}; };
  std::unique_ptr<DirtyTracker> tracker_;
  Board board_{2};
};

TEST_F(UffdTrackerDisks, PostsWhatWasInFlightWithTheNextHarvest) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  look_ = [] { return pages(0b110); };
  auto stats = tracker_->harvest(board_);
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->deferred, 2U);
  EXPECT_EQ(stats->in_flight, 0U);
  EXPECT_EQ(claim_all(board_), Pages{}) << "not landed yet: to post it now would be of no use";
  look_ = [] { return pages(0b1000); };
  stats = tracker_->harvest(board_);
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->in_flight, 2U);
  EXPECT_EQ(stats->deferred, 1U);
  EXPECT_EQ(claim_all(board_), (Pages{65, 66}));
  look_ = [] { return std::vector<PagesOfChunk>{}; };
  ASSERT_TRUE(tracker_->harvest(board_));
  EXPECT_EQ(claim_all(board_), (Pages{67}));
  ASSERT_TRUE(tracker_->harvest(board_));
  EXPECT_EQ(claim_all(board_), Pages{});
}

TEST_F(UffdTrackerDisks, PostsWhatWasInFlightAtTheStart) {
  look_ = [] { return pages(0b1); };
  ASSERT_TRUE(tracker_->start(kAllChunks));
  look_ = [] { return std::vector<PagesOfChunk>{}; };
  ASSERT_TRUE(tracker_->harvest(board_));
  EXPECT_EQ(claim_all(board_), (Pages{64}));
}

TEST_F(UffdTrackerDisks, LooksAfterTheScanAndBeforeThePost) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  ASSERT_TRUE(child_.write(3));
  std::uint64_t waiting_at_look = 99;
  look_ = [&] {
    waiting_at_look = board_.waiting();
    EXPECT_TRUE(child_.write(9));  // after the scan: belongs to the next harvest
    return std::vector<PagesOfChunk>{};
  };
  ASSERT_TRUE(tracker_->harvest(board_));
  EXPECT_EQ(waiting_at_look, 0U);
  EXPECT_EQ(claim_all(board_), (Pages{3}));
  look_ = [] { return std::vector<PagesOfChunk>{}; };
  ASSERT_TRUE(tracker_->harvest(board_));
  EXPECT_EQ(claim_all(board_), (Pages{9}));
}

TEST_F(UffdTrackerDisks, SettlesWhatHasLandedAndKeepsTheRestDeferred) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  look_ = [] { return pages(0b1110); };
  ASSERT_TRUE(tracker_->harvest(board_));
  look_ = [] { return pages(0b10100); };  // one of the three is in flight still, another has been submitted since
  const auto still = tracker_->settle(board_);
  ASSERT_TRUE(still);
  EXPECT_EQ(*still, 1U);
  EXPECT_EQ(claim_all(board_), (Pages{65, 67}));
  look_ = [] { return std::vector<PagesOfChunk>{}; };
  EXPECT_EQ(tracker_->settle(board_).value(), 0U);
  EXPECT_EQ(claim_all(board_), (Pages{66}));
  EXPECT_EQ(tracker_->harvest(board_)->in_flight, 0U);
}

TEST_F(UffdTrackerDisks, AFailedLookSettlesNothingAndForgetsNothing) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  look_ = [] { return pages(0b1); };
  ASSERT_TRUE(tracker_->harvest(board_));
  look_ = []() -> Result<std::vector<PagesOfChunk>> { return fail(ErrorKind::kHypervisor, "busy"); };
  ASSERT_FALSE(tracker_->settle(board_));
  ASSERT_TRUE(tracker_->harvest_last(board_));
  EXPECT_EQ(claim_all(board_), (Pages{64}));
}

TEST_F(UffdTrackerDisks, TheLastHarvestPostsTheDeferredAndAsksNobody) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  look_ = [] { return pages(0b1); };
  ASSERT_TRUE(tracker_->harvest(board_));
  look_ = [] {
    ADD_FAILURE() << "the guest is paused: nothing is in flight, and QEMU has better things to do";
    return std::vector<PagesOfChunk>{};
  };
  ASSERT_TRUE(tracker_->harvest_last(board_));
  EXPECT_EQ(claim_all(board_), (Pages{64}));
}

TEST_F(UffdTrackerDisks, AHarvestNearTheStopAsksNobodyAndForgetsNoRequest) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  look_ = [] { return pages(0b1); };
  ASSERT_TRUE(tracker_->harvest(board_));
  look_ = [] {
    ADD_FAILURE() << "QEMU may not answer before the guest is paused";
    return std::vector<PagesOfChunk>{};
  };
  ASSERT_TRUE(child_.write(3));
  const auto stats = tracker_->harvest_near_stop(board_, [] { return false; });
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->pages, 1U);
  EXPECT_EQ(claim_all(board_), (Pages{3})) << "posted at once";
  // It may be the page of a request that was in flight, and so may the one of the look.
  ASSERT_TRUE(tracker_->harvest_last(board_));
  EXPECT_EQ(claim_all(board_), (Pages{3, 64}));
}

TEST_F(UffdTrackerDisks, AHarvestThatMeetsTheStopLeavesTheRestForTheLast) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  ASSERT_TRUE(child_.write(3));
  const auto stats = tracker_->harvest_near_stop(board_, [] { return true; });
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->pages, 0U);
  EXPECT_EQ(claim_all(board_), Pages{});
  ASSERT_TRUE(tracker_->harvest_last(board_));
  EXPECT_EQ(claim_all(board_), (Pages{3}));
}

TEST_F(UffdTrackerDisks, ForgetsNothingWhenALookFails) {
  ASSERT_TRUE(tracker_->start(kAllChunks));
  look_ = [] { return pages(0b1); };
  ASSERT_TRUE(tracker_->harvest(board_));
  ASSERT_TRUE(child_.write(3));
  look_ = []() -> Result<std::vector<PagesOfChunk>> { return fail(ErrorKind::kHypervisor, "busy"); };
  const auto failed = tracker_->harvest(board_);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().kind, ErrorKind::kHypervisor);
  EXPECT_EQ(claim_all(board_), Pages{});
  look_ = [] { return std::vector<PagesOfChunk>{}; };
  ASSERT_TRUE(tracker_->harvest(board_));
  EXPECT_EQ(claim_all(board_), (Pages{3, 64}));
}

// A model of the hazard: data lands without a page fault (through another mapping of the file, which no page table of
// the tracked process sees). Whatever the order of events, the last copy that a lane made must hold the data.
TEST_F(UffdTrackerDisks, LosesNoLandingWhateverTheOrder) {
  struct Request {
    std::uint32_t page;
    int pinned_in, lands_in;  // harvest number
    bool lands_before_look;
  };
  std::vector<Request> requests;
  for (int pinned = 0; pinned < 3; ++pinned) {
    for (int landed = pinned; landed < 5; ++landed) {
      for (const bool before : {false, true}) {
        requests.push_back({static_cast<std::uint32_t>(requests.size()), pinned, landed, before});
      }
    }
  }
  ASSERT_LE(requests.size(), 2 * kPagesPerChunk);
  std::vector<bool> landed(requests.size()), copied(requests.size());
  ASSERT_TRUE(tracker_->start(kAllChunks));
  for (int harvest = 0; harvest < 7; ++harvest) {
    look_ = [&] {
      std::vector<PagesOfChunk> now;
      for (const Request& request : requests) {
        if (request.lands_in == harvest && request.lands_before_look) landed[request.page] = true;
        if (request.pinned_in > harvest || landed[request.page]) continue;
        now.push_back({ChunkIndex{request.page / 64}, PageWord{1} << request.page % 64});
      }
      for (const Request& request : requests) {
        if (request.lands_in == harvest) landed[request.page] = true;  // after the look, before the post
      }
      return now;
    };
    for (const Request& request : requests) {
      if (request.pinned_in == harvest) {
        ASSERT_TRUE(child_.write(request.page));
      }
    }
    ASSERT_TRUE(tracker_->harvest(board_));
    for (const auto page : claim_all(board_)) copied[page] = landed[page];
  }
  for (const Request& request : requests) {
    EXPECT_TRUE(copied[request.page]) << "pinned in " << request.pinned_in << ", landed in " << request.lands_in
                                      << (request.lands_before_look ? " before" : " after") << " the look";
  }
}

}  // namespace
}  // namespace godwit::uffd_tracker_test
