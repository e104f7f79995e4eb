// The filter of free pages: what it takes off the board, when it looks again, and that whatever is not certain travels.
#include "engine/free_page_filter.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/support/manual_clock.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kChunks = 100;
constexpr PageWord kAll = ~PageWord{0};

/// A finder whose every answer a test writes down.
class WrittenPages final : public FreePages {
 public:
  explicit WrittenPages(testing::ManualClock& clock) : free(kChunks, kAll), clock_(clock) {}

  Status locate(std::stop_token stop, const std::function<void()>& likely) override {
    std::unique_lock lock(mutex_);
    // One look around at a time, so that it also hears that it is to stop.
    while (!stop.stop_requested()) {
      if (likely_ && !told_) {
        told_ = true;
        likely();
      }
      if (end_) return *end_;
      changed_.wait_for(lock, stop, 1ms, [] { return false; });
    }
    return fail(ErrorKind::kCancelled, "stopped");
  }
  Status find(std::span<PageWord> pages) override {
    ++looks;
    clock_.advance(look_takes);
    if (!find_fails.empty()) {
      std::ranges::fill(pages, PageWord{0});
      return fail(ErrorKind::kUnsupported, find_fails);
    }
    for (std::size_t c = 0; c < pages.size(); ++c) pages[c] &= free[c];
    return {};
  }
  Status keep_needed(ChunkIndex first, std::span<PageWord> pages) override {
    ++looks_into;
    clock_.advance(look_into_takes);
    (void)first;
    if (look_into_fails) return fail(ErrorKind::kIo, "cannot be read");
    for (PageWord& word : pages) word &= needed;
    return {};
  }
  void keep_free(std::span<PageWord> pages) override {
    ++keeps;
    clock_.advance(keep_takes);
    for (std::size_t c = 0; c < pages.size(); ++c) pages[c] &= free[c];
  }

  /// There are books that fit; then the search ends like this.
  void say_likely() {
    const std::lock_guard lock(mutex_);
    likely_ = true;
    changed_.notify_all();
  }
  void end(Status how) {
    const std::lock_guard lock(mutex_);
    end_ = std::move(how);
    changed_.notify_all();
  }

  std::vector<PageWord> free;
  PageWord needed = 0;  ///< of each chunk
  std::string find_fails;
  bool look_into_fails = false;
  Duration look_takes{}, look_into_takes{}, keep_takes{};
  unsigned looks = 0, looks_into = 0, keeps = 0;

 private:
  testing::ManualClock& clock_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool likely_ = false, told_ = false;
  std::optional<Status> end_;
};

class FreePageFilterTest : public ::testing::Test {
 protected:
  void post_all() {
    for (std::uint32_t c = 0; c < kChunks; ++c) board_.post(ChunkIndex{c}, kAll);
  }
  /// Until the search has come to something that the filter makes something of.
  void withdraw_once_it_looks() {
    for (const auto end = std::chrono::steady_clock::now() + 20s;
         finder_.looks == 0 && std::chrono::steady_clock::now() < end; std::this_thread::sleep_for(1ms)) {
      filter_.withdraw(true);
    }
    EXPECT_EQ(finder_.looks, 1U);
  }
  bool finds(const std::string& what) {
    for (const auto end = std::chrono::steady_clock::now() + 20s; std::chrono::steady_clock::now() < end;
         std::this_thread::sleep_for(1ms)) {
      if (filter_.finding() == what) return true;
    }
    return false;
  }
  void begin_likely() {
    post_all();
    filter_.locate();
    finder_.say_likely();
    withdraw_once_it_looks();
  }
  void begin_found() {
    finder_.end({});
    post_all();
    filter_.locate();
    EXPECT_TRUE(finds("found"));
    filter_.withdraw(true);
  }
  std::uint64_t left_out() const { return filter_.pages(); }

  testing::ManualClock clock_;
  Board board_{kChunks};
  SharedPageWords left_out_{kChunks};
  WrittenPages finder_{clock_};
  FreePageFilter filter_{&finder_, board_, left_out_, clock_};
};

TEST_F(FreePageFilterTest, WithoutAFinderNothingIsFree) {
  FreePageFilter none(nullptr, board_, left_out_, clock_);
  post_all();
  none.locate();
  none.withdraw(true);
  EXPECT_FALSE(none.check_some(1s));
  EXPECT_FALSE(none.has_unchecked());
  EXPECT_TRUE(none.looked());
  none.post_taken_into_use();
  EXPECT_EQ(none.pages(), 0U);
  EXPECT_EQ(none.finding(), "not looked for");
  EXPECT_EQ(board_.waiting(), kChunks * kPagesPerChunk);
}

TEST_F(FreePageFilterTest, TakesFreePagesAndNoOthersOffTheBoard) {
  finder_.free.assign(kChunks, 0xffff);
  begin_found();
  EXPECT_EQ(board_.waiting(), kChunks * 48);
  EXPECT_EQ(left_out(), kChunks * 16);
  EXPECT_EQ(left_out_.of(ChunkIndex{7}), 0xffffU);
  EXPECT_EQ(board_.peek(ChunkIndex{7}), kAll & ~PageWord{0xffff});
}

TEST_F(FreePageFilterTest, KnowsNothingBeforeTheSearchSaysSo) {
  post_all();
  filter_.locate();
  for (int i = 0; i < 20; ++i) {
    filter_.withdraw(true);
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(finder_.looks, 0U);
  EXPECT_EQ(filter_.finding(), "still looking when the guest was stopped");
  EXPECT_FALSE(filter_.looked());
}

TEST_F(FreePageFilterTest, AFewPagesAreNotWorthALook) {
  finder_.end({});
  board_.post(ChunkIndex{0}, kAll);
  filter_.locate();
  ASSERT_TRUE(finds("found"));
  filter_.withdraw(true);
  EXPECT_EQ(finder_.looks, 0U);
  post_all();
  filter_.withdraw(true);
  EXPECT_EQ(finder_.looks, 1U);
}

TEST_F(FreePageFilterTest, ALookThatTakesLongIsWorthItForMoreOnly) {
  finder_.look_takes = 100ms;  // in which lanes send 25,600 pages
  begin_found();
  post_all();
  clock_.advance(1h);
  filter_.withdraw(true);
  EXPECT_EQ(finder_.looks, 1U) << "there are only " << board_.waiting();
  EXPECT_EQ(filter_.look_takes(), 100ms);
}

TEST_F(FreePageFilterTest, LooksSoonAgainWhereMuchWasFoundAndSeldomElse) {
  begin_found();
  post_all();
  clock_.advance(49ms);
  filter_.withdraw(false);
  EXPECT_EQ(finder_.looks, 1U);
  clock_.advance(1ms);
  filter_.withdraw(false);
  EXPECT_EQ(finder_.looks, 2U);
  EXPECT_FALSE(filter_.looked());
  finder_.free.assign(kChunks, 1);  // 100 pages
  post_all();
  filter_.withdraw(true);
  EXPECT_EQ(finder_.looks, 3U) << "a harvest is a reason of its own";
  EXPECT_TRUE(filter_.looked());
  clock_.advance(499ms);
  filter_.withdraw(false);
  EXPECT_EQ(finder_.looks, 3U);
  clock_.advance(1ms);
  filter_.withdraw(false);
  EXPECT_EQ(finder_.looks, 4U);
}

TEST_F(FreePageFilterTest, ALookThatFailsIsTheLast) {
  finder_.find_fails = "contradictions";
  begin_found();
  EXPECT_EQ(filter_.finding(), "contradictions");
  EXPECT_TRUE(filter_.looked());
  EXPECT_EQ(left_out(), 0U);
  clock_.advance(1h);
  filter_.withdraw(true);
  EXPECT_EQ(finder_.looks, 1U);
  EXPECT_EQ(board_.waiting(), kChunks * kPagesPerChunk);
}

TEST_F(FreePageFilterTest, IsInDoubtUntilItIsSureAndEachPageHasBeenLookedInto) {
  begin_likely();
  EXPECT_TRUE(filter_.has_unchecked());
  filter_.check_some(1s);
  EXPECT_TRUE(filter_.has_unchecked()) << "the search has not ended";
  finder_.end({});
  ASSERT_TRUE(finds("found"));
  filter_.check_some(1s);
  EXPECT_FALSE(filter_.has_unchecked());
  EXPECT_EQ(left_out(), kChunks * kPagesPerChunk);
}

TEST_F(FreePageFilterTest, LooksIntoPagesForAsLongAsItIsGiven) {
  finder_.look_into_takes = 2ms;  // 32 chunks at a time
  begin_found();
  EXPECT_FALSE(filter_.check_some(3ms));
  EXPECT_EQ(finder_.looks_into, 2U);
  EXPECT_TRUE(filter_.has_unchecked());
  EXPECT_FALSE(filter_.check_some(1h));
  EXPECT_EQ(finder_.looks_into, 4U);
  EXPECT_FALSE(filter_.has_unchecked());
}

TEST_F(FreePageFilterTest, PostsWhatMustTravelThoughItIsFree) {
  finder_.needed = 0b101;
  begin_found();
  const auto epoch = board_.epoch();
  EXPECT_TRUE(filter_.check_some(1s));
  EXPECT_NE(board_.epoch(), epoch) << "lanes sleep";
  EXPECT_EQ(board_.peek(ChunkIndex{99}), 0b101U);
  EXPECT_EQ(left_out(), kChunks * 62);
  EXPECT_FALSE(filter_.check_some(1s)) << "each is looked into once";
}

/// A page that was written meanwhile is posted by a harvest, and its lane drops it from those left out.
TEST_F(FreePageFilterTest, WhatHasGoneMeanwhileIsNotPostedTwice) {
  finder_.needed = kAll;
  begin_found();
  left_out_.drop(ChunkIndex{5}, 0xff);
  EXPECT_TRUE(filter_.check_some(1s));
  EXPECT_EQ(board_.peek(ChunkIndex{5}), kAll & ~PageWord{0xff});
  EXPECT_EQ(left_out(), 0U);
}

TEST_F(FreePageFilterTest, WhatCannotBeLookedIntoTravels) {
  finder_.look_into_fails = true;
  begin_found();
  EXPECT_TRUE(filter_.check_some(1s));
  EXPECT_EQ(board_.waiting(), kChunks * kPagesPerChunk);
  EXPECT_EQ(left_out(), 0U);
  EXPECT_EQ(filter_.finding(), "cannot be read");
}

TEST_F(FreePageFilterTest, PagesThatTakeLongToBeLookedIntoAreNotLeftOutAnyMore) {
  finder_.look_into_takes = 32 * 64 * 5us;  // 4 us a page is as much as sending it takes
  begin_found();
  filter_.check_some(1h);
  post_all();
  clock_.advance(1h);
  filter_.withdraw(true);
  EXPECT_EQ(finder_.looks, 1U);
}

TEST_F(FreePageFilterTest, AllThatWasLeftOutTravelsIfTheSearchEndsInDoubt) {
  begin_likely();
  ASSERT_EQ(left_out(), kChunks * kPagesPerChunk);
  finder_.end(fail(ErrorKind::kUnsupported, "two kernels"));
  ASSERT_TRUE(finds("two kernels"));
  EXPECT_TRUE(filter_.has_unchecked());
  EXPECT_TRUE(filter_.check_some(0ns));
  EXPECT_FALSE(filter_.has_unchecked());
  EXPECT_EQ(board_.waiting(), kChunks * kPagesPerChunk);
  EXPECT_EQ(left_out(), 0U);
  EXPECT_FALSE(filter_.check_some(1s));
}

TEST_F(FreePageFilterTest, InThePauseWhatIsNotFreeAnyMoreTravels) {
  begin_found();
  filter_.check_some(1s);
  finder_.free[3] = 0xff;
  filter_.post_taken_into_use();
  EXPECT_EQ(board_.waiting(), 56U);
  EXPECT_EQ(board_.peek(ChunkIndex{3}), kAll & ~PageWord{0xff});
  EXPECT_EQ(left_out(), kChunks * kPagesPerChunk - 56);
}

/// One look beside busy lanes may take ten times as long as it will in the pause. Nothing but another tells.
TEST_F(FreePageFilterTest, OneLookThatWasHeldUpIsForgotten) {
  finder_.look_takes = 400ms;
  begin_found();
  filter_.check_some(1s);
  ASSERT_FALSE(filter_.has_unchecked());
  EXPECT_EQ(filter_.look_takes(), Duration(400ms));
  finder_.keep_takes = 90ms;
  filter_.rehearse();
  EXPECT_EQ(filter_.look_takes(), Duration(90ms));
  finder_.keep_takes = 3ms;
  filter_.rehearse();
  EXPECT_EQ(finder_.keeps, 1U) << "not again at once";
  clock_.advance(2s);
  filter_.rehearse();
  EXPECT_EQ(filter_.look_takes(), Duration(3ms));
  EXPECT_EQ(board_.waiting(), 0U) << "a rehearsal posts nothing";
  EXPECT_EQ(left_out(), kChunks * kPagesPerChunk);
  // A guest whose books have grown: the latest count.
  finder_.keep_takes = 8ms;
  for (int i = 0; i < 4; ++i) {
    clock_.advance(2s);
    filter_.rehearse();
  }
  EXPECT_EQ(filter_.look_takes(), Duration(8ms));
}

TEST_F(FreePageFilterTest, IsNotRehearsedWhileItIsInDoubt) {
  begin_likely();
  filter_.rehearse();
  EXPECT_EQ(finder_.keeps, 0U);
}

/// Or the guest would never be moved.
TEST_F(FreePageFilterTest, WhereTheLookWouldBeTooLongAllTravels) {
  begin_found();
  filter_.check_some(1s);
  finder_.keep_takes = 30ms;
  for (int i = 0; i < 4; ++i) {
    EXPECT_FALSE(filter_.give_up_if_slow(25ms)) << "after " << i;
    filter_.rehearse();
    clock_.advance(2s);
  }
  EXPECT_FALSE(filter_.give_up_if_slow(30ms));
  EXPECT_TRUE(filter_.give_up_if_slow(25ms));
  EXPECT_EQ(left_out(), 0U);
  EXPECT_EQ(board_.waiting(), kChunks * kPagesPerChunk);
  EXPECT_EQ(filter_.look_takes(), Duration{});
  EXPECT_NE(filter_.finding().find("longer than --max-downtime"), std::string::npos);
  filter_.withdraw(true);
  EXPECT_EQ(left_out(), 0U) << "nor is anything left out again";
}

TEST_F(FreePageFilterTest, InThePauseAllTravelsThatIsStillInDoubt) {
  begin_found();  // but nothing has been looked into
  filter_.post_taken_into_use();
  EXPECT_EQ(board_.waiting(), kChunks * kPagesPerChunk);
  EXPECT_EQ(left_out(), 0U);
}

TEST_F(FreePageFilterTest, ASearchThatIsGivenUpLeavesNothingOut) {
  begin_likely();
  filter_.check_some(1s);
  filter_.give_up_locating();
  EXPECT_EQ(filter_.finding(), "still looking when the guest was stopped");
  EXPECT_TRUE(filter_.has_unchecked());
  filter_.post_taken_into_use();
  EXPECT_EQ(board_.waiting(), kChunks * kPagesPerChunk);
}

}  // namespace
}  // namespace godwit
