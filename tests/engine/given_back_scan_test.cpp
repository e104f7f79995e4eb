// Pages that a guest gives back after they were sent, all the way: the tracker's threads, the memory's file, the board.
// Nothing is missed and nothing too much is posted, whatever goes on meanwhile; and the pause allocates nothing for it.
#include <gtest/gtest.h>

#include "base/units.h"
#include "engine/given_back.h"
#include "memory/block_memory.h"
#include "tests/support/counted_allocations.h"
#include "tests/tracking/claimed_pages.h"
#include "tests/tracking/huge_pages.h"
#include "tests/tracking/writing_process.h"
#include "tracking/uffd_tracker.h"
#include "tracking/write_protection.h"

namespace godwit::given_back_scan_test {
namespace {

using testing::claim_all;
using testing::Kind;
using testing::Pages;
using testing::WritingProcess;

class GivenBackScan : public ::testing::TestWithParam<std::tuple<Kind, unsigned>> {
 protected:
  void SetUp() override {
    if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
    if (kind() == Kind::kHuge) {
      huge_pages_.emplace(8);
      if (!huge_pages_->ok()) GTEST_SKIP() << "no huge pages can be had here (vm.nr_hugepages)";
    }
    bytes_ = kind() == Kind::kHuge ? 16 * kMiB : 200 * kMiB + beyond_whole_huge_pages();
    child_.emplace(kind(), bytes_);
    ASSERT_TRUE(child_->ok());
    auto process = RemoteProcess::open(child_->pid());
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(*std::move(process));
    TrackedRange range{child_->address(), bytes_, ChunkIndex{0}};
    if (kind() == Kind::kPrivate) range.populated = Populated::kInPageTable;
    if (kind() == Kind::kMemfd || kind() == Kind::kTmpfs) {
      range.populated = Populated::kInFile;
      range.file = std::make_shared<const UniqueFd>(file());
    }
    auto tracker = make_uffd_tracker(*process_, {range}, nullptr, clock_, {.scan_threads = std::get<1>(GetParam())});
    ASSERT_TRUE(tracker) << tracker.error().message;
    tracker_ = *std::move(tracker);
    std::vector<std::unique_ptr<BlockAccess>> blocks;
    const std::uint64_t page_size = kind() == Kind::kHuge ? 2 * kMiB : kPageSize;
    auto block = kind() == Kind::kPrivate
                     ? open_process_block(child_->pid(), child_->address(), bytes_, process_->open_pagemap().value())
                     : open_file_block(file(), 0, bytes_, page_size);
    ASSERT_TRUE(block) << block.error().message;
    blocks.push_back(*std::move(block));
    auto layout = RamLayout::make({{.name = "ram0", .size = bytes_, .page_size = page_size, .first_chunk = {}}});
    memory_ = join_blocks(*std::move(layout), std::move(blocks));
    ASSERT_NE(memory_, nullptr);
    board_.emplace(memory_->layout().chunk_count());
    sent_.emplace(memory_->layout().chunk_count());
  }
  virtual std::uint64_t beyond_whole_huge_pages() const { return 3 * kPageSize; }
  static Kind kind() { return std::get<0>(GetParam()); }
  /// The kernel knows of each page whether it is there.
  static bool tells() { return kind() != Kind::kHuge; }
  UniqueFd file() const {
    const auto mappings = process_->mappings().value();
    for (const Mapping& mapping : mappings) {
      if (mapping.start == child_->address()) return process_->open_backing_file(mapping).value();
    }
    return {};
  }
  std::uint32_t pages() const { return static_cast<std::uint32_t>(bytes_ / kPageSize); }
  void sent(std::uint64_t page) {
    sent_->add(ChunkIndex{static_cast<std::uint32_t>(page / kPagesPerChunk)}, PageWord{1} << page % kPagesPerChunk);
  }
  void all_sent() {
    for (std::uint64_t page = 0; page < pages(); ++page) sent(page);
  }
  Pages look() {
    GivenBack look(*memory_, *sent_, *board_);
    const Status status = tracker_->find_absent(look);
    EXPECT_TRUE(status) << status.error().message;
    EXPECT_EQ(look.posted(), board_->waiting());
    return claim_all(*board_);
  }

  std::uint64_t bytes_ = 0;
  std::optional<testing::SomeHugePages> huge_pages_;
  std::optional<WritingProcess> child_;
  std::optional<RemoteProcess> process_;
  SteadyClock clock_;
  std::unique_ptr<DirtyTracker> tracker_;
  std::unique_ptr<GuestMemory> memory_;
  std::optional<Board> board_;
  std::optional<SharedPageWords> sent_;
};

TEST_P(GivenBackScan, PostsJustTheHolesAmongWhatWasSent) {
  ASSERT_TRUE(child_->write(0, pages()));
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  for (std::uint64_t page = 0; page < pages(); ++page) {
    if (page % 3 != 1) sent(page);
  }
  Pages expected;
  const auto give_back = [&](std::uint32_t first, std::uint32_t count) {
    ASSERT_TRUE(child_->give_back(first, count));
    for (std::uint32_t page = first; page < first + count; ++page) {
      if (tells() && page % 3 != 1) expected.insert(page);
    }
  };
  if (kind() == Kind::kHuge) {
    give_back(512, 1024);
  } else {
    for (std::uint32_t page = 9; page < pages(); page += 577) give_back(page, 1 + page % 40);
    give_back(16384 - 5, 11);
    give_back(20480, 4096);
    // As when the host takes them from page tables: they keep their contents.
    ASSERT_TRUE(kind() == Kind::kPrivate || child_->discard(30000, 1500));
  }
  EXPECT_EQ(look(), expected);
}

/// A look begins at any time: it finds what was given back before, and never what was not.
TEST_P(GivenBackScan, MissesNothingThatWasGivenBackBeforeItBegan) {
  if (!tells()) GTEST_SKIP() << "the kernel does not tell of holes there";
  constexpr std::uint32_t kFirst = 3;
  constexpr std::uint32_t kStride = 13;
  const std::uint32_t count = (pages() - kFirst - 2) / kStride;
  ASSERT_TRUE(child_->write(0, pages()));
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  all_sent();
  EXPECT_EQ(look(), Pages{});
  child_->begin_to_give_back(kFirst, count, kStride);
  std::uint32_t may = 0;
  for (std::uint32_t before = 0; before < count;) {
    child_->may_give_back(may += count / 8);
    before = child_->given_back();
    const Pages found = look();
    const std::uint32_t after = child_->given_back() + 1;
    ASSERT_LE(found.size(), after);
    for (std::uint32_t i = 0; i < before; ++i) {
      ASSERT_TRUE(found.contains(kFirst + std::uint64_t{i} * kStride)) << i << " of " << before;
    }
    for (const std::uint64_t page : found) ASSERT_EQ((page - kFirst) % kStride, 0U) << page;
  }
  EXPECT_EQ(look().size(), count);
}

/// Of other sizes no file tells whether it is all there.
class GivenBackScanOfHugePages : public GivenBackScan {
  std::uint64_t beyond_whole_huge_pages() const override { return 0; }
};

/// Without a hole there is nothing to be asked about.
TEST_P(GivenBackScanOfHugePages, AsksNothingOfMemoryThatIsAllThere) {
  ASSERT_TRUE(child_->write(0, pages() - 1));
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  all_sent();
  const auto asked = [&] {
    GivenBack look(*memory_, *sent_, *board_);
    std::vector<PageWord> words(memory_->layout().chunk_count());
    EXPECT_TRUE(look.ask(ChunkIndex{0}, words));
    return words.front() != 0;
  };
  EXPECT_EQ(asked(), tells());
  ASSERT_TRUE(child_->write(pages() - 1));
  EXPECT_EQ(asked(), kind() == Kind::kPrivate) << "it is not known there";
  ASSERT_TRUE(child_->give_back(0));
  EXPECT_EQ(asked(), tells());
}

TEST_P(GivenBackScan, ThePauseAllocatesNothing) {
  if (!testing::kCountsAllocations) GTEST_SKIP() << "a sanitizer has the operators by which allocations are counted";
  ASSERT_TRUE(child_->write(0, pages() / 6));
  ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  all_sent();
  // Much that was written, first writes in gaps, long runs and many short ones that were given back.
  ASSERT_TRUE(child_->write(5, pages() / 8, 2));
  // In more chunks of one gap than are posted together.
  const std::uint32_t late = kind() == Kind::kHuge ? 2048 : 14000;
  const std::uint32_t count = (pages() - late) / kPagesPerChunk;
  ASSERT_TRUE(child_->write(late, count, kPagesPerChunk));
  if (kind() == Kind::kHuge) {
    ASSERT_TRUE(child_->give_back(1024, 512));
  } else {
    for (std::uint32_t page = 5000; page < 9000; page += 7) ASSERT_TRUE(child_->give_back(page, 1 + page % 5));
    ASSERT_TRUE(child_->give_back(9728, 4096));
  }
  const auto before = testing::allocations.load();
  const auto harvested = tracker_->harvest_last(*board_);
  const auto harvest = testing::allocations.load();
  GivenBack look(*memory_, *sent_, *board_);
  const Status status = tracker_->find_absent(look);
  const auto after = testing::allocations.load();
  ASSERT_TRUE(harvested && status);
  const Pages posted = claim_all(*board_);
  for (std::uint32_t i = 0; i < count; ++i) ASSERT_TRUE(posted.contains(late + i * kPagesPerChunk)) << i;
  EXPECT_EQ(look.posted() > 0, tells());
  EXPECT_EQ(harvest - before, 0U) << "by the last harvest";
  EXPECT_EQ(after - harvest, 0U) << "by the look for pages given back";
  // They are counted at all.
  const auto one = std::make_unique<std::uint64_t>(1);
  EXPECT_GE(testing::allocations.load() - after, *one);
}

std::string name_of_shape(const ::testing::TestParamInfo<GivenBackScan::ParamType>& each) {
  return testing::name_of(std::get<0>(each.param)) + "_" + std::to_string(std::get<1>(each.param));
}
INSTANTIATE_TEST_SUITE_P(Threads, GivenBackScan,
                         ::testing::Combine(::testing::Values(Kind::kMemfd, Kind::kTmpfs, Kind::kPrivate, Kind::kHuge),
                                            ::testing::Values(1U, 5U)),
                         name_of_shape);
INSTANTIATE_TEST_SUITE_P(Threads, GivenBackScanOfHugePages,
                         ::testing::Combine(::testing::Values(Kind::kMemfd, Kind::kTmpfs, Kind::kPrivate, Kind::kHuge),
                                            ::testing::Values(1U, 5U)),
                         name_of_shape);

}  // namespace
}  // namespace godwit::given_back_scan_test
