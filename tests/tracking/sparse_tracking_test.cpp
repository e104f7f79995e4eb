// Memory of which little is there: only that is armed, and what comes to be later is found all the same, also by
// whoever writes it first while it is being armed.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <random>

#include "base/units.h"
#include "memory/block_memory.h"
#include "tests/tracking/claimed_pages.h"
#include "tests/tracking/writing_process.h"
#include "tracking/uffd_tracker.h"
#include "tracking/write_protection.h"

namespace godwit::sparse_tracking_test {
namespace {

using testing::claim_all;
using testing::Kind;
using testing::Pages;
using testing::WritingProcess;

constexpr std::uint32_t kAllChunks = ~std::uint32_t{0};
constexpr std::uint32_t kPagesPerUnit = 512;

class SparseTracking : public ::testing::TestWithParam<std::tuple<Kind, unsigned>> {
 protected:
  void SetUp() override {
    if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
  }
  void begin(std::uint64_t bytes) {
    bytes_ = bytes;
    child_.emplace(kind(), bytes);
    ASSERT_TRUE(child_->ok());
    auto process = RemoteProcess::open(child_->pid());
    ASSERT_TRUE(process);
    process_.emplace(*std::move(process));
    board_.emplace(static_cast<std::uint32_t>(bytes / kChunkSize + 1));
    TrackedRange range{child_->address(), bytes, ChunkIndex{0}, Populated::kInPageTable};
    if (kind() != Kind::kPrivate) {
      range.populated = Populated::kInFile;
      range.file = std::make_shared<const UniqueFd>(file());
    }
    auto tracker = make_uffd_tracker(*process_, {range}, nullptr, clock_, {.scan_threads = std::get<1>(GetParam())});
    ASSERT_TRUE(tracker) << tracker.error().message;
    tracker_ = *std::move(tracker);
  }
  static Kind kind() { return std::get<0>(GetParam()); }
  UniqueFd file() const {
    const auto mappings = process_->mappings().value();
    for (const Mapping& mapping : mappings) {
      if (mapping.start == child_->address()) return process_->open_backing_file(mapping).value();
    }
    return {};
  }
  /// As the lanes read it.
  std::unique_ptr<GuestMemory> memory() const {
    std::vector<std::unique_ptr<BlockAccess>> blocks;
    blocks.push_back(
        kind() == Kind::kPrivate
            ? open_process_block(child_->pid(), child_->address(), bytes_, process_->open_pagemap().value()).value()
            : open_file_block(file(), 0, bytes_, kPageSize).value());
    return join_blocks(RamLayout::make({{.name = "ram0", .size = bytes_}}).value(), std::move(blocks));
  }
  Pages harvest() {
    const auto stats = tracker_->harvest(*board_);
    EXPECT_TRUE(stats) << stats.error().message;
    return claim_all(*board_);
  }
  static void expect_all(const Pages& found, std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t page = first; page < first + count; ++page) EXPECT_TRUE(found.contains(page)) << page;
  }
  std::uint64_t page_tables_kib() const {
    std::ifstream status("/proc/" + std::to_string(child_->pid()) + "/status");
    std::uint64_t kib = 0;
    for (std::string word; status >> word;) {
      if (word == "VmPTE:") status >> kib;
    }
    return kib;
  }

  std::uint64_t bytes_ = 0;
  std::optional<WritingProcess> child_;
  std::optional<RemoteProcess> process_;
  SteadyClock clock_;
  std::optional<Board> board_;
  std::unique_ptr<DirtyTracker> tracker_;
};

TEST_P(SparseTracking, ArmsWhatIsThereAndFindsWhatComes) {
  ASSERT_NO_FATAL_FAILURE(begin(8 * kGiB));
  constexpr std::uint32_t kFar = 5 * kGiB / kPageSize;
  ASSERT_TRUE(child_->write(0, 3));
  ASSERT_TRUE(child_->write(kFar + 7));
  const auto before = page_tables_kib();
  ASSERT_TRUE(tracker_->start(kAllChunks));
  EXPECT_LT(page_tables_kib() - before, 1024U) << "8 GiB of entries are 16 MiB";
  EXPECT_EQ(harvest(), Pages{}) << "start() swallows what was there before";
  // Where it is armed page by page, as ever.
  ASSERT_TRUE(child_->write(1));
  ASSERT_TRUE(child_->write(kFar + 9));
  EXPECT_EQ(harvest(), (Pages{1, kFar + 9}));
  // In a gap: what is round it comes, too, once.
  const std::uint32_t somewhere = 3 * kGiB / kPageSize + 5;
  ASSERT_TRUE(child_->write(somewhere));
  auto found = harvest();
  EXPECT_TRUE(found.contains(somewhere));
  EXPECT_LE(found.size(), 2 * kPagesPerUnit);
  EXPECT_EQ(harvest(), Pages{});
  ASSERT_TRUE(child_->write(somewhere));
  ASSERT_TRUE(child_->write(somewhere + 3));
  EXPECT_EQ(harvest(), (Pages{somewhere, somewhere + 3})) << "it is armed now";
  // Nobody had been there before the stop.
  const std::uint32_t late = 7 * kGiB / kPageSize + 77;
  ASSERT_TRUE(child_->write(late, 2));
  ASSERT_TRUE(child_->write(2));
  const auto last = tracker_->harvest_last(*board_);
  ASSERT_TRUE(last) << last.error().message;
  found = claim_all(*board_);
  for (const std::uint64_t page : {std::uint64_t{2}, std::uint64_t{late}, std::uint64_t{late} + 1}) {
    EXPECT_TRUE(found.contains(page)) << page;
  }
  EXPECT_LE(found.size(), 1 + kPagesPerUnit);
}

/// What came to be between start() and the search, is copied, and is zeros again before any look.
TEST_P(SparseTracking, WhatTheSearchHasNamedIsArmed) {
  ASSERT_NO_FATAL_FAILURE(begin(kGiB));
  ASSERT_TRUE(tracker_->start(kAllChunks));
  constexpr std::uint32_t kPage = 200 * kPagesPerUnit + 3;
  ASSERT_TRUE(child_->write(kPage));
  std::vector<PageWord> data(board_->chunk_count());
  data[kPage / kPagesPerChunk] = PageWord{1} << kPage % kPagesPerChunk;
  ASSERT_TRUE(child_->write(kPage + 1));  // after the search, before it is armed
  ASSERT_TRUE(tracker_->copied_first(data));
  ASSERT_TRUE(child_->discard(kPage));
  ASSERT_TRUE(child_->read(kPage));
  const auto found = harvest();
  EXPECT_TRUE(found.contains(kPage));
  EXPECT_TRUE(found.contains(kPage + 1));
  EXPECT_EQ(harvest(), Pages{});
  EXPECT_FALSE(tracker_->copied_first(std::span(data).first(1)));
}

/// Allocated and never written: the file has no data to be found, and memory all the same.
TEST_P(SparseTracking, AFileThatIsAllocatedAsAWholeIsArmedAsAWhole) {
  if (kind() == Kind::kPrivate) GTEST_SKIP() << "it has no file";
  ASSERT_NO_FATAL_FAILURE(begin(600 * kMiB));
  ASSERT_EQ(::fallocate(file().get(), 0, 0, static_cast<off_t>(bytes_)), 0);
  ASSERT_TRUE(tracker_->start(kAllChunks));
  ASSERT_TRUE(child_->write(77 * kPagesPerUnit));
  EXPECT_EQ(harvest(), (Pages{77 * kPagesPerUnit})) << "its surroundings come where it was a gap";
}

TEST_P(SparseTracking, FindsTheEdgesOfARangeAndOfAGap) {
  ASSERT_NO_FATAL_FAILURE(begin(300 * kMiB + 3 * kPageSize));
  const auto last = static_cast<std::uint32_t>(bytes_ / kPageSize - 1);
  ASSERT_TRUE(child_->write(100 * kPagesPerUnit));
  ASSERT_TRUE(tracker_->start(kAllChunks));
  const std::uint32_t edges[] = {0, 99 * kPagesPerUnit + 511, 101 * kPagesPerUnit, last};
  for (const std::uint32_t page : edges) ASSERT_TRUE(child_->write(page));
  const auto found = harvest();
  for (const std::uint32_t page : edges) EXPECT_TRUE(found.contains(page)) << page;
  EXPECT_TRUE(found.empty() || *found.rbegin() <= last);
  for (const std::uint32_t page : edges) ASSERT_TRUE(child_->write(page));
  EXPECT_EQ(harvest(), Pages(std::begin(edges), std::end(edges)));
}

TEST_P(SparseTracking, APageThatIsOnlyReadIsArmedWhenItIsWritten) {
  ASSERT_NO_FATAL_FAILURE(begin(kGiB));
  ASSERT_TRUE(tracker_->start(kAllChunks));
  constexpr std::uint32_t kPage = 200 * kPagesPerUnit + 3;
  ASSERT_TRUE(child_->read(kPage, 10));
  harvest();
  ASSERT_TRUE(child_->write(kPage + 1));
  EXPECT_TRUE(harvest().contains(kPage + 1));
}

/// As when the host swaps, between the first write and the look for it.
TEST_P(SparseTracking, SeesAFirstWriteThatLeftThePageTable) {
  if (kind() == Kind::kPrivate) GTEST_SKIP() << "only shared pages leave it so";
  ASSERT_NO_FATAL_FAILURE(begin(kGiB));
  ASSERT_TRUE(tracker_->start(kAllChunks));
  constexpr std::uint32_t kPage = 200 * kPagesPerUnit + 3;
  ASSERT_TRUE(child_->write(kPage));
  ASSERT_TRUE(child_->discard(kPage));
  EXPECT_TRUE(harvest().contains(kPage));
  ASSERT_TRUE(child_->write(kPage + 5 * kPagesPerUnit));
  ASSERT_TRUE(child_->discard(kPage + 5 * kPagesPerUnit));
  ASSERT_TRUE(tracker_->harvest_last(*board_));
  EXPECT_TRUE(claim_all(*board_).contains(kPage + 5 * kPagesPerUnit));
}

/// 4 TiB in 256 RAM blocks, of which next to nothing is there.
TEST_P(SparseTracking, OfTheLargestVmsIsQuick) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  GTEST_SKIP() << "the thread sanitizer leaves no room in the address space for 4 TiB";
#endif
#endif
  constexpr std::uint64_t kBlock = 16 * kGiB;
  constexpr std::uint64_t kBlocks = 256;
  ASSERT_NO_FATAL_FAILURE(begin(kBlocks * kBlock));
  std::vector<TrackedRange> ranges;
  for (std::uint64_t i = 0; i < kBlocks; ++i) {
    TrackedRange range{child_->address() + i * kBlock, kBlock,
                       ChunkIndex{static_cast<std::uint32_t>(i * kBlock / kChunkSize)}};
    range.populated = kind() == Kind::kPrivate ? Populated::kInPageTable : Populated::kInFile;
    if (kind() != Kind::kPrivate) range.file = std::make_shared<const UniqueFd>(file());
    range.file_offset = i * kBlock;
    ranges.push_back(std::move(range));
  }
  tracker_ = make_uffd_tracker(*process_, std::move(ranges), nullptr, clock_, {.scan_threads = std::get<1>(GetParam())})
                 .value();
  const auto page_of = [](std::uint64_t byte) { return static_cast<std::uint32_t>(byte / kPageSize); };
  const std::uint32_t there = page_of(2 * kBlock - kPageSize);
  const std::uint32_t far = page_of(kBlocks * kBlock - kPageSize);
  ASSERT_TRUE(child_->write(there));
  const auto before = page_tables_kib();
  ASSERT_TRUE(tracker_->start(kAllChunks));
  EXPECT_EQ(harvest(), Pages{});
  ASSERT_TRUE(child_->write(there));
  ASSERT_TRUE(child_->write(page_of(100 * kBlock)));
  const auto found = harvest();
  expect_all(found, there, 1);
  expect_all(found, page_of(100 * kBlock), 1);
  EXPECT_LE(found.size(), 2 * kPagesPerUnit);
  ASSERT_TRUE(child_->write(far));
  ASSERT_TRUE(tracker_->harvest_last(*board_));
  expect_all(claim_all(*board_), far, 1);
  EXPECT_LT(page_tables_kib() - before, 1024U) << "4 TiB of entries are 8 GiB";
}

/// Many first writes between two scans.
TEST_P(SparseTracking, FindsManyAtOnce) {
  ASSERT_NO_FATAL_FAILURE(begin(4 * kGiB));
  ASSERT_TRUE(tracker_->start(kAllChunks));
  constexpr std::uint32_t kCount = 9000;
  ASSERT_TRUE(child_->write(5, kCount, 97));
  const auto found = harvest();
  for (std::uint32_t i = 0; i < kCount; ++i) ASSERT_TRUE(found.contains(5 + i * 97)) << i;
  ASSERT_TRUE(child_->write(5, kCount, 97));
  const auto again = harvest();
  EXPECT_EQ(again.size(), kCount);
}

/// A guest that writes pages for the first time while they are being armed, looked for, and read by lanes.
TEST_P(SparseTracking, LosesNothingToWhoeverWritesFirst) {
  const std::uint32_t seed = std::get<1>(GetParam());
  ASSERT_NO_FATAL_FAILURE(begin(256 * kMiB));
  const auto pages = static_cast<std::uint32_t>(bytes_ / kPageSize);
  const auto source = memory();
  ASSERT_NE(source, nullptr);
  std::vector<std::byte> sink(bytes_);
  const auto copy = [&](ChunkIndex chunk, PageWord words) {
    for_each_page(words, [&](unsigned page) {
      const auto at = chunk.value * kChunkSize + page * kPageSize;
      EXPECT_TRUE(source->read(chunk, PageWord{1} << page, MutableBytes(sink).subspan(at, kPageSize)));
    });
  };
  const auto copy_posted = [&] {
    for (std::uint32_t c = 0; c < source->layout().chunk_count(); ++c) {
      copy(ChunkIndex{c}, board_->claim(ChunkIndex{c}));
    }
  };
  child_->begin_to_wander(pages, seed);
  child_->may_wander_to(pages / 4);
  ASSERT_TRUE(tracker_->start(kAllChunks));
  std::vector<PageWord> data(source->layout().chunk_count());
  ASSERT_TRUE(source->find_data(ChunkIndex{0}, data));
  std::vector<PageWord> named = data;
  named.resize(board_->chunk_count());
  ASSERT_TRUE(tracker_->copied_first(named));
  for (std::uint32_t c = 0; c < data.size(); ++c) copy(ChunkIndex{c}, data[c]);
  for (std::uint32_t limit = pages / 4; limit < pages; limit += 1500) {
    child_->may_wander_to(limit);
    const auto stats = tracker_->harvest(*board_);
    ASSERT_TRUE(stats) << stats.error().message;
    copy_posted();
  }
  ASSERT_TRUE(child_->stop_wandering());
  ASSERT_TRUE(tracker_->harvest_last(*board_));
  copy_posted();
  std::vector<std::byte> page(kPageSize);
  std::uint64_t differ = 0;
  for (std::uint32_t p = 0; p < pages; ++p) {
    ASSERT_TRUE(source->read(ChunkIndex{static_cast<std::uint32_t>(p / kPagesPerChunk)},
                             PageWord{1} << p % kPagesPerChunk, page));
    if (std::memcmp(page.data(), sink.data() + std::uint64_t{p} * kPageSize, kPageSize) != 0) ++differ;
  }
  ASSERT_EQ(differ, 0U) << "seed " << seed;
}

INSTANTIATE_TEST_SUITE_P(Kinds, SparseTracking,
                         ::testing::Combine(::testing::Values(Kind::kMemfd, Kind::kTmpfs, Kind::kPrivate),
                                            ::testing::Values(1U, 5U)),
                         [](const auto& each) {
                           return testing::name_of(std::get<0>(each.param)) + "_" +
                                  std::to_string(std::get<1>(each.param));
                         });

}  // namespace
}  // namespace godwit::sparse_tracking_test
