// Missing pages of huge pages: each appears when the last piece of it has come, and what of one that was broken off is
// missing is known again.
#include <gtest/gtest.h>
#include <sys/uio.h>

#include <future>

#include "base/units.h"
#include "postcopy/uffd_missing_pages.h"
#include "tests/tracking/huge_pages.h"
#include "tests/tracking/writing_process.h"

namespace godwit::huge_missing_test {
namespace {

using testing::Kind;
using testing::WritingProcess;

constexpr std::uint64_t kHuge = 2 * kMiB;
constexpr std::uint32_t kChunksOfOne = kHuge / kChunkSize;
constexpr std::uint64_t kHugeBytes = 2 * kHuge;
constexpr std::chrono::milliseconds kAWhile{100};

std::vector<std::byte> pages_of(unsigned char value, std::size_t count) {
  return std::vector<std::byte>(count * kPageSize, std::byte{value});
}

class HugeMissingPages : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!huge_pages_.ok()) GTEST_SKIP() << "no huge pages can be had here (vm.nr_hugepages)";
    child_.emplace(Kind::kHuge, kHugeBytes);
    ASSERT_TRUE(child_->ok());
    ASSERT_TRUE(child_->write(0, kHugeBytes / kPageSize));  // every first byte is 1
    process_.emplace(RemoteProcess::open(child_->pid()).value());
    std::vector<MissingRange> ranges;
    ranges.push_back({.name = "ram", .address = child_->address(), .length = kHugeBytes, .page_size = kHuge});
    const auto mappings = process_->mappings().value();
    for (const auto& mapping : mappings) {
      if (mapping.start != child_->address()) continue;
      ranges[0].file = process_->open_backing_file(mapping).value();
    }
    auto pages = open_missing_pages(*process_, std::move(ranges), nullptr);
    if (!pages && pages.error().kind == ErrorKind::kUnsupported) GTEST_SKIP() << pages.error().message;
    ASSERT_TRUE(pages) << pages.error().message;
    pages_ = *std::move(pages);
    missing_.resize(2 * kChunksOfOne);
    missing_[1] = 3;
    missing_[2] = 1;
    ASSERT_TRUE(pages_->begin(missing_));
  }
  /// In the first huge page, where all but three pages are there.
  std::future<bool> written_to(std::uint32_t page) {
    return std::async(std::launch::async, [this, page] { return child_->write(page); });
  }
  static bool waits(std::future<bool>& written) { return written.wait_for(kAWhile) == std::future_status::timeout; }

  unsigned char first_byte_of(std::uint64_t page) {
    unsigned char byte = 0;
    iovec here{&byte, 1};
    const iovec there{reinterpret_cast<void*>(child_->address() + page * kPageSize), 1};
    EXPECT_EQ(::process_vm_readv(child_->pid(), &here, 1, &there, 1, 0), 1);
    return byte;
  }

  testing::SomeHugePages huge_pages_{3};
  std::optional<WritingProcess> child_;
  std::optional<RemoteProcess> process_;
  std::unique_ptr<MissingPages> pages_;
  std::vector<PageWord> missing_;
};

TEST_F(HugeMissingPages, AppearWhenTheLastOfThemHasCome) {
  auto written = written_to(0);
  const auto touched = pages_->await_touches();
  ASSERT_TRUE(touched && touched->size() == 1);
  EXPECT_EQ(touched->front().chunk.value, 0U);
  EXPECT_EQ(touched->front().chunks, kChunksOfOne);
  ASSERT_TRUE(pages_->put(ChunkIndex{1}, 3, pages_of(7, 2)));
  EXPECT_TRUE(waits(written)) << "one piece had not come";
  ASSERT_TRUE(pages_->put_zeros(ChunkIndex{2}, 1));
  EXPECT_TRUE(written.get());
  EXPECT_EQ(first_byte_of(0), 2) << "what was there stays";
  EXPECT_EQ(first_byte_of(kPagesPerChunk), 7);
  EXPECT_EQ(first_byte_of(2 * kPagesPerChunk), 0);
  EXPECT_TRUE(child_->write(kHuge / kPageSize)) << "nothing was missing of the other one";
  ASSERT_TRUE(pages_->end());
}

TEST_F(HugeMissingPages, AreTakenAwayInTwoParts) {
  ASSERT_TRUE(pages_->put(ChunkIndex{1}, 3, pages_of(7, 2)));
  std::vector<PageWord> more(missing_.size());
  more[3] = 1;
  more[kChunksOfOne] = 1;
  ASSERT_TRUE(pages_->begin(more));
  auto first = written_to(0);
  ASSERT_TRUE(pages_->put(ChunkIndex{2}, 1, pages_of(8, 1)));
  EXPECT_TRUE(waits(first));
  ASSERT_TRUE(pages_->put(ChunkIndex{3}, 1, pages_of(9, 1)));
  EXPECT_TRUE(first.get());
  auto second = written_to(kHuge / kPageSize + 5);
  EXPECT_TRUE(waits(second));
  ASSERT_TRUE(pages_->put(ChunkIndex{kChunksOfOne}, 1, pages_of(9, 1)));
  EXPECT_TRUE(second.get());
  ASSERT_TRUE(pages_->end());
}

/// What was asked for with the first touch is not all that it waits for.
TEST_F(HugeMissingPages, AreToldOfAgainToWhoeverWaitsWhenMoreIsTakenAway) {
  auto written = written_to(0);
  ASSERT_EQ(pages_->await_touches().value().size(), 1U);
  std::vector<PageWord> more(missing_.size());
  more[3] = 1;
  ASSERT_TRUE(pages_->begin(more));
  auto again = std::async(std::launch::async, [this] { return pages_->await_touches(); });
  const bool told = again.wait_for(std::chrono::seconds(10)) == std::future_status::ready;
  EXPECT_TRUE(told);
  if (!told) pages_->interrupt();
  const auto touches = again.get();
  ASSERT_TRUE(touches);
  if (told) {
    EXPECT_EQ(touches->front().chunks, kChunksOfOne);
  }
  ASSERT_TRUE(pages_->put(ChunkIndex{1}, 3, pages_of(7, 2)));
  ASSERT_TRUE(pages_->put(ChunkIndex{2}, 1, pages_of(7, 1)));
  ASSERT_TRUE(pages_->put(ChunkIndex{3}, 1, pages_of(7, 1)));
  EXPECT_TRUE(written.get());
  ASSERT_TRUE(pages_->end());
}

/// Its bytes in the file say nothing: that it is mapped does, and then the guest may have written to it.
TEST_F(HugeMissingPages, AreThereAsAWholeOrNotAtAllForWhoeverComesLater) {
  const std::string trace = pages_->trace();
  std::vector<PageWord> more(missing_.size());
  more[kChunksOfOne] = 1;
  ASSERT_TRUE(pages_->begin(more));
  ASSERT_TRUE(pages_->put(ChunkIndex{kChunksOfOne}, 1, pages_of(9, 1)));  // all of the second one
  ASSERT_TRUE(child_->write(kHuge / kPageSize));
  ASSERT_TRUE(pages_->put(ChunkIndex{1}, 1, pages_of(7, 1)));
  pages_.reset();
  missing_[kChunksOfOne] = 1;
  const auto again = reopen_missing_pages(*process_, trace, missing_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(missing_[kChunksOfOne], 0U);
  EXPECT_EQ(missing_[1], 3U) << "that one of them has come the file does not tell";
  missing_[1] = 2;
  auto written = written_to(9);
  ASSERT_TRUE((*again)->begin(missing_));
  ASSERT_TRUE((*again)->await_touches());
  ASSERT_TRUE((*again)->put(ChunkIndex{1}, 2, pages_of(8, 1)));
  EXPECT_TRUE(waits(written));
  ASSERT_TRUE((*again)->put(ChunkIndex{2}, 1, pages_of(8, 1)));
  EXPECT_TRUE(written.get());
  EXPECT_EQ(first_byte_of(kPagesPerChunk), 7);
  EXPECT_EQ(first_byte_of(kHuge / kPageSize), 10);
  ASSERT_TRUE((*again)->end());
}

/// The process was killed after the last piece had been marked, and before the page had appeared.
TEST_F(HugeMissingPages, AppearToWhoeverTouchesThemWhereNothingIsMissing) {
  const std::string trace = pages_->trace();
  ASSERT_TRUE(pages_->put(ChunkIndex{1}, 1, pages_of(7, 1)));
  pages_.reset();
  const std::vector<PageWord> nothing(missing_.size());
  missing_ = nothing;
  const auto again = reopen_missing_pages(*process_, trace, missing_);
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE((*again)->begin(missing_));
  auto written = written_to(0);
  const auto touched = (*again)->await_touches();
  ASSERT_TRUE(touched && touched->size() == 1);
  ASSERT_TRUE((*again)->put_zeros(touched->front().chunk, 1));
  EXPECT_TRUE(written.get());
  EXPECT_EQ(first_byte_of(0), 2) << "zeros were put in place of what was there";
  ASSERT_TRUE((*again)->end());
}

}  // namespace
}  // namespace godwit::huge_missing_test
