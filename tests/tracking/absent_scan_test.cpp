// Which pages are in no page table, asked about by 1 to 16 threads: each stretch once, all that were given back, and
// nothing that was not asked about.
#include "tracking/absent_scan.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "tests/tracking/claimed_pages.h"
#include "tests/tracking/huge_pages.h"
#include "tests/tracking/writing_process.h"
#include "tracking/uffd_tracker.h"
#include "tracking/write_protection.h"

namespace godwit::absent_scan_test {
namespace {

using testing::Kind;
using testing::Pages;
using testing::SomeHugePages;
using testing::WritingProcess;

constexpr std::uint32_t kBoardChunks = 4096;
constexpr std::uint32_t kHugePage = 512;  // pages

/// Asks about a set of pages.
class Questions final : public AbsentPages {
 public:
  /// All of them, or none yet.
  explicit Questions(bool all) : asked_(kBoardChunks, all ? kAllPages : 0), told_(kBoardChunks), times_(kBoardChunks) {}
  void add(std::uint64_t page) { asked_[page / kPagesPerChunk] |= PageWord{1} << page % kPagesPerChunk; }

  Status ask(ChunkIndex first, std::span<PageWord> pages) override {
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (pages[i] != 0) return fail(ErrorKind::kInvalidArgument, "words with something in them");
      pages[i] = asked_[first.value + i];
      ++times_[first.value + i];
    }
    return ask_fails ? Status(fail(ErrorKind::kIo, "cannot ask")) : Status{};
  }
  Status found(ChunkIndex first, std::span<PageWord> pages) override {
    for (std::size_t i = 0; i < pages.size(); ++i) told_[first.value + i] = pages[i];
    return found_fails ? Status(fail(ErrorKind::kIo, "cannot take it")) : Status{};
  }

  Pages told() const {
    Pages pages;
    for (std::uint32_t chunk = 0; chunk < kBoardChunks; ++chunk) {
      for_each_page(told_[chunk], [&](unsigned page) { pages.insert(chunk * std::uint64_t{kPagesPerChunk} + page); });
    }
    return pages;
  }
  int times(std::uint32_t chunk) const { return times_[chunk]; }

  bool ask_fails = false;
  bool found_fails = false;

 private:
  std::vector<PageWord> asked_, told_;
  std::vector<std::atomic<int>> times_;
};

class AbsentScanTest : public ::testing::TestWithParam<std::tuple<Kind, unsigned>> {
 protected:
  void SetUp() override {
    if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
    if (huge()) {
      huge_pages_.emplace(8);
      if (!huge_pages_->ok()) GTEST_SKIP() << "no huge pages can be had here (vm.nr_hugepages)";
    }
    // Small pages: slices of 64 MiB, whole and cut ones. Huge pages are few.
    first_ = huge() ? 3 * kHugePage : 128 * kMiB / kPageSize;
    pages_ = huge() ? 8 * kHugePage : first_ + 70 * kMiB / kPageSize + 3;
    child_.emplace(kind(), pages_ * kPageSize);
    ASSERT_TRUE(child_->ok());
    auto process = RemoteProcess::open(child_->pid());
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(*std::move(process));
    auto tracker = make_uffd_tracker(
        *process_,
        {{child_->address(), first_ * kPageSize, ChunkIndex{kFirstChunk}},
         {child_->address() + first_ * kPageSize, (pages_ - first_) * kPageSize, ChunkIndex{kSecondChunk}}},
        nullptr, clock_, {.scan_threads = std::get<1>(GetParam())});
    ASSERT_TRUE(tracker) << tracker.error().message;
    tracker_ = *std::move(tracker);
    ASSERT_TRUE(child_->write(0, static_cast<std::uint32_t>(pages_)));
    ASSERT_TRUE(tracker_->start(~std::uint32_t{0}));
  }
  static Kind kind() { return std::get<0>(GetParam()); }
  static bool huge() { return kind() == Kind::kHuge; }
  /// Where a page of the process is on the board.
  std::uint64_t on_board(std::uint64_t page) const {
    return page < first_ ? kFirstChunk * kPagesPerChunk + page : kSecondChunk * kPagesPerChunk + page - first_;
  }
  /// Runs of pages that lie at every border: of slices, ranges, page tables, and in the middle. The last two are whole
  /// page tables.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs() const {
    if (huge()) return {{kHugePage, kHugePage}, {2 * kHugePage, 2 * kHugePage}, {7 * kHugePage, kHugePage}};
    constexpr std::uint64_t kSlice = 64 * kMiB / kPageSize;
    return {{0, 1},          {kSlice - 1, 2},          {kSlice + 63, 3}, {first_ - 1, 2},  {first_ + 70, 9},
            {pages_ - 1, 1}, {first_ + kSlice - 2, 3}, {9000, 1200},     {20 * 512, 4096}, {first_ + 8192, 2048}};
  }
  void give_back(Pages& expected) {
    for (const auto& [first, count] : runs()) {
      ASSERT_TRUE(child_->give_back(static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(count)));
      for (std::uint64_t i = 0; i < count; ++i) expected.insert(on_board(first + i));
    }
  }

  static constexpr std::uint32_t kFirstChunk = 600, kSecondChunk = 1200;
  std::uint64_t first_ = 0, pages_ = 0;
  std::optional<SomeHugePages> huge_pages_;
  std::optional<WritingProcess> child_;
  std::optional<RemoteProcess> process_;
  SteadyClock clock_;
  std::unique_ptr<DirtyTracker> tracker_;
};

TEST_P(AbsentScanTest, FindsWhatWasGivenBackAndNothingElse) {
  Questions nothing_gone(true);
  ASSERT_TRUE(tracker_->find_absent(nothing_gone));
  EXPECT_EQ(nothing_gone.told(), Pages{});
  Pages expected;
  ASSERT_NO_FATAL_FAILURE(give_back(expected));
  Questions all(true);
  const Status status = tracker_->find_absent(all);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(all.told(), expected);
}

TEST_P(AbsentScanTest, AsksOnceAboutEachChunkOfItsRangesAndNoOther) {
  Questions all(true);
  ASSERT_TRUE(tracker_->find_absent(all));
  const auto chunks = [](std::uint64_t pages) { return (pages + kPagesPerChunk - 1) / kPagesPerChunk; };
  for (std::uint32_t chunk = 0; chunk < kBoardChunks; ++chunk) {
    const bool tracked = (chunk >= kFirstChunk && chunk < kFirstChunk + chunks(first_)) ||
                         (chunk >= kSecondChunk && chunk < kSecondChunk + chunks(pages_ - first_));
    ASSERT_EQ(all.times(chunk), tracked ? 1 : 0) << chunk;
  }
}

TEST_P(AbsentScanTest, TellsOnlyWhatWasAskedAbout) {
  Pages gone;
  ASSERT_NO_FATAL_FAILURE(give_back(gone));
  Questions some(false);
  Pages expected;
  // Alone, far from each other, and so near that both are looked for at once.
  for (const std::uint64_t page : gone) {
    if (page % 5 != 0 && page % 1023 != 0) continue;
    some.add(page);
    expected.insert(page);
  }
  for (std::uint64_t page = 0; page < pages_; page += 11) {
    if (!gone.contains(on_board(page))) some.add(on_board(page));
  }
  ASSERT_TRUE(tracker_->find_absent(some));
  EXPECT_EQ(some.told(), expected);
  Questions none(false);
  ASSERT_TRUE(tracker_->find_absent(none));
  EXPECT_EQ(none.told(), Pages{});
}

TEST_P(AbsentScanTest, TellsWhatWentWrong) {
  Questions cannot_ask(true);
  cannot_ask.ask_fails = true;
  EXPECT_FALSE(tracker_->find_absent(cannot_ask));
  ASSERT_TRUE(child_->give_back(static_cast<std::uint32_t>(7 * kHugePage), kHugePage));
  Questions cannot_take(true);
  cannot_take.found_fails = true;
  EXPECT_FALSE(tracker_->find_absent(cannot_take));
  child_->end();
  Questions nobody(true);
  const Status gone = tracker_->find_absent(nobody);
  ASSERT_FALSE(gone) << "a process that has ended must not look like one that has given back nothing";
  EXPECT_EQ(gone.error().kind, ErrorKind::kPeerLost);
  ASSERT_TRUE(tracker_->stop());
  EXPECT_EQ(tracker_->find_absent(nobody).error().kind, ErrorKind::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Threads, AbsentScanTest,
                         ::testing::Combine(::testing::Values(Kind::kMemfd, Kind::kTmpfs, Kind::kPrivate, Kind::kHuge),
                                            ::testing::Values(1U, 5U)),
                         [](const auto& each) {
                           return testing::name_of(std::get<0>(each.param)) + "_" +
                                  std::to_string(std::get<1>(each.param));
                         });

}  // namespace
}  // namespace godwit::absent_scan_test
