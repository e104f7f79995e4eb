// Missing pages that are found again after the end of whoever began with them: who waits goes on waiting, nothing that
// is there is overwritten, and what is still missing is known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/uio.h>

#include <future>

#include "postcopy/uffd_missing_pages.h"
#include "tests/tracking/writing_process.h"

namespace godwit::reopened_pages_test {
namespace {

using ::testing::HasSubstr;
using testing::Kind;
using testing::WritingProcess;

constexpr std::uint64_t kBytes = 2 * kChunkSize + 5 * kPageSize;
constexpr PageWord kFirst = 0xfffff;  // of chunk 0
constexpr std::array<PageWord, 3> kMissing = {kFirst, 0, 0x3};

PageWord page(unsigned number) {
  return PageWord{1} << number;
}

std::vector<std::byte> filled_with(unsigned char value, std::size_t pages = 1) {
  return std::vector<std::byte>(pages * kPageSize, std::byte{value});
}

class ReopenedPages : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    child_.emplace(GetParam(), kBytes);
    ASSERT_TRUE(child_->ok() && child_->write(0, kBytes / kPageSize));
    auto process = RemoteProcess::open(child_->pid());
    ASSERT_TRUE(process) << process.error().message;
    process_.emplace(*std::move(process));
    auto pages = open_missing_pages(*process_, ranges(), nullptr);
    if (!pages && pages.error().kind == ErrorKind::kUnsupported) GTEST_SKIP() << pages.error().message;
    ASSERT_TRUE(pages) << pages.error().message;
    first_ = *std::move(pages);
    trace_ = first_->trace();
    ASSERT_TRUE(first_->begin(kMissing));
  }
  std::vector<MissingRange> ranges() {
    std::vector<MissingRange> ranges;
    ranges.push_back({.name = "ram", .address = child_->address(), .length = kBytes, .page_size = kPageSize});
    if (GetParam() == Kind::kPrivate) return ranges;
    const auto mappings = process_->mappings().value();
    const auto holds = [&](const Mapping& m) { return m.start <= child_->address() && child_->address() < m.end; };
    ranges[0].file = process_->open_backing_file(*std::ranges::find_if(mappings, holds)).value();
    return ranges;
  }
  Result<std::unique_ptr<MissingPages>> reopen(std::vector<PageWord>& missing) {
    missing.assign(kMissing.begin(), kMissing.end());
    return reopen_missing_pages(*process_, trace_, missing);
  }
  unsigned char first_byte_of(unsigned number) {
    unsigned char byte = 0;
    iovec here{&byte, 1};
    const iovec there{reinterpret_cast<void*>(child_->address() + number * kPageSize), 1};
    EXPECT_EQ(::process_vm_readv(child_->pid(), &here, 1, &there, 1, 0), 1);
    return byte;
  }

  std::optional<WritingProcess> child_;
  std::optional<RemoteProcess> process_;
  std::unique_ptr<MissingPages> first_;
  std::string trace_;
};

TEST_P(ReopenedPages, KnowWhatIsMissingStill) {
  ASSERT_TRUE(first_->put(ChunkIndex{0}, page(3) | page(4), filled_with(7, 2)));
  ASSERT_TRUE(first_->put_zeros(ChunkIndex{0}, page(5)));
  ASSERT_TRUE(first_->put_zeros(ChunkIndex{2}, page(1)));
  first_.reset();
  std::vector<PageWord> missing;
  const auto again = reopen(missing);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(missing[0], kFirst & ~(page(3) | page(4) | page(5)));
  EXPECT_EQ(missing[1], 0U);
  EXPECT_EQ(missing[2], page(0));
}

/// What the first one had been told of is lost with it.
TEST_P(ReopenedPages, AreToldOfThoseWhoWaitAlready) {
  auto written = std::async(std::launch::async, [&] { return child_->write(2); });
  const auto touched = first_->await_touches();
  ASSERT_TRUE(touched && touched->size() == 1);
  first_.reset();
  std::vector<PageWord> missing;
  const auto again = reopen(missing);
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE((*again)->begin(missing));
  const auto once_more = (*again)->await_touches();
  ASSERT_TRUE(once_more && once_more->size() == 1);
  EXPECT_EQ(once_more->front().page, 2U);
  ASSERT_TRUE((*again)->put(ChunkIndex{0}, page(2), filled_with(9)));
  EXPECT_TRUE(written.get());
  EXPECT_EQ(first_byte_of(2), 10);
  ASSERT_TRUE((*again)->end());
}

/// A page may come a second time: what the guest has written meanwhile stays.
TEST_P(ReopenedPages, OverwriteNothing) {
  ASSERT_TRUE(first_->put(ChunkIndex{0}, page(1), filled_with(7)));
  ASSERT_TRUE(child_->write(1));
  first_.reset();
  std::vector<PageWord> missing;
  const auto again = reopen(missing);
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE((*again)->begin(missing));
  ASSERT_TRUE((*again)->put(ChunkIndex{0}, page(0) | page(1) | page(2), filled_with(3, 3)));
  EXPECT_EQ(first_byte_of(0), 3);
  EXPECT_EQ(first_byte_of(1), 8);
  EXPECT_EQ(first_byte_of(2), 3);
  ASSERT_TRUE((*again)->end());
  again->get()->interrupt();
  EXPECT_TRUE(child_->read(0, kBytes / kPageSize)) << "somebody waits still";
}

TEST_P(ReopenedPages, AreNotFoundWhereTheProcessIsAnother) {
  first_.reset();
  WritingProcess other(GetParam(), kBytes);
  ASSERT_TRUE(other.ok());
  const auto process = RemoteProcess::open(other.pid());
  ASSERT_TRUE(process);
  std::vector<PageWord> missing(kMissing.begin(), kMissing.end());
  const auto again = reopen_missing_pages(*process, trace_, missing);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(again.error().message, HasSubstr("is not as it was"));
  EXPECT_FALSE(reopen_missing_pages(*process_, R"({"userfaultfd": 0, "ranges": []})", missing));
  EXPECT_FALSE(reopen_missing_pages(*process_, "nonsense", missing));
}

INSTANTIATE_TEST_SUITE_P(Of, ReopenedPages, ::testing::Values(Kind::kMemfd, Kind::kTmpfs, Kind::kPrivate),
                         [](const auto& tested) { return testing::name_of(tested.param); });

}  // namespace
}  // namespace godwit::reopened_pages_test
