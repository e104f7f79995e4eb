// Memory that is pinned first and written later, without a new look into the page table: no tracker of page tables sees
// it, so that it must be found by name. And pages that cannot be armed.
#include <gtest/gtest.h>

#include "attach/registered_buffers.h"
#include "tests/tracking/writing_process.h"
#include "tracking/uffd_tracker.h"
#include "tracking/write_protection.h"

namespace godwit::unseen_writers_test {
namespace {

constexpr std::uint32_t kAllChunks = ~std::uint32_t{0};

using testing::Kind;
using testing::WritingProcess;

/// The words of a page of the process.
std::uint64_t first_word(const WritingProcess& child, std::uint64_t page) {
  std::uint64_t word = 0;
  iovec ours{&word, sizeof word};
  iovec theirs{reinterpret_cast<void*>(child.address() + page * kPageSize), sizeof word};
  EXPECT_EQ(::process_vm_readv(child.pid(), &ours, 1, &theirs, 1, 0), 8);
  return word;
}

class Pinned : public ::testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, Pinned, ::testing::Values(Kind::kMemfd, Kind::kPrivate),
                         [](const auto& param) { return testing::name_of(param.param); });

/// The hazard, as it is; and that it is seen by whoever looks for it.
TEST_P(Pinned, WrittenWithoutANewLookUpIsSeenByNoTrackerButNamed) {
  WritingProcess child(GetParam(), 64 * kPageSize);
  ASSERT_TRUE(child.ok());
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  EXPECT_TRUE(find_registered_buffers(*process).value().empty());
  ASSERT_TRUE(child.write(0, 64));
  if (!child.register_page(7)) GTEST_SKIP() << "no io_uring here";

  const SteadyClock clock;
  Board board(1);
  const auto tracker = make_uffd_tracker(*process, {{child.address(), 64 * kPageSize, ChunkIndex{0}}}, nullptr, clock);
  ASSERT_TRUE(tracker) << tracker.error().message;
  ASSERT_TRUE((*tracker)->start(kAllChunks));
  const auto before = first_word(child, 7);
  ASSERT_TRUE(child.write_registered(7));
  ASSERT_NE(first_word(child, 7), before);
  ASSERT_TRUE((*tracker)->harvest(board));
  EXPECT_EQ(board.claim(ChunkIndex{0}) & (PageWord{1} << 7), 0u)
      << "the kernel sees such writes: they need not be refused any more";

  const auto found = find_registered_buffers(*process);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().address, child.address() + 7 * kPageSize);
  EXPECT_EQ(found->front().length, kPageSize);
}

TEST(RegisteredBuffers, AreReadAsKernelsPrintThem) {
  const auto found = parse_registered_buffers(
      "pos:\t0\nflags:\t02000002\nSqMask:\t0x3\nUserFiles:\t0\nUserBufs:\t3\n    0: 0x7f0000000000/1048576\n"
      "    1: <none>\n    2: 0x7f0000200000/4096\nPollList:\n");
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].address, 0x7f0000000000u);
  EXPECT_EQ((*found)[0].length, 1048576u);
  EXPECT_EQ((*found)[1].address, 0x7f0000200000u);
  EXPECT_TRUE(parse_registered_buffers("UserBufs:\t0\nPollList:\n")->empty());
  EXPECT_FALSE(parse_registered_buffers("pos:\t0\nflags:\t02000002\n")) << "a ring that was busy";
}

TEST(RegisteredBuffers, WhosePlaceIsNotToldAreAnywhere) {
  for (const char* text : {"UserBufs:\t1\n", "UserBufs:\t1\n    0: (ptrval)/4096\n", "UserBufs:\tmany\n",
                           "UserBufs:\t18446744073709551615\nx", "UserBufs:\t1\n    0: 0x0000000000000000/4096\n"}) {
    const auto found = parse_registered_buffers(text);
    ASSERT_TRUE(found) << text;
    ASSERT_EQ(found->size(), 1u) << text;
    EXPECT_EQ(found->front().length, ~std::uint64_t{0}) << text;
  }
}

TEST(TrackingTrial, TriesOnePageAndLetsItGo) {
  if (const auto can = check_write_protection(); !can) GTEST_SKIP() << can.error().message;
  WritingProcess child(Kind::kMemfd, 64 * kPageSize);
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  for (int i = 0; i < 2; ++i) {
    const Status tried = try_tracking(*process, child.address(), kPageSize, nullptr);
    EXPECT_TRUE(tried) << tried.error().message;
  }
  EXPECT_TRUE(child.write(0));
}

}  // namespace
}  // namespace godwit::unseen_writers_test
