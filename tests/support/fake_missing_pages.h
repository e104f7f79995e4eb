// A hypervisor that waits for pages, without one: what is taken away is poisoned, and a guest of the test touches it.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>

#include "memory/missing_pages.h"
#include "tests/support/plain_memory.h"

namespace godwit::testing {

/// What a test sees of it, also when it is gone.
struct MissingPagesSeen {
  std::atomic<std::uint64_t> taken_away{0};
  std::atomic<std::uint64_t> came{0};
  std::atomic<std::uint64_t> answered{0};  ///< touches of pages that then came, or were there
  std::atomic<bool> begun{false};
  std::atomic<bool> ended{false};
  std::vector<PageWord> missing;  ///< now, by chunk; for the test when nobody is at work on it
  std::function<void()> before_put;
  std::function<void()> taken;  ///< away: after each begin()
  unsigned begins = 0;
  unsigned begin_that_fails = 0;  ///< when it has taken away some; 0: none
};

class FakeMissingPages final : public MissingPages {
 public:
  /// As soon as pages are taken away, every `every`-th of them is touched, and a page that is not missing. `again`:
  /// they were taken away before this object was made.
  FakeMissingPages(PlainMemory& memory, MissingPagesSeen& seen, unsigned every, bool again = false)
      : memory_(memory), seen_(seen), every_(every), again_(again), missing_(seen.missing) {}

  std::string trace() const override { return "fake"; }
  Status begin(std::span<const PageWord> missing) override {
    const std::lock_guard lock(mutex_);
    if (again_) return touch_again();
    missing_.resize(missing.size());
    for (std::uint32_t c = 0; c < missing_.size(); ++c) {
      missing_[c] |= missing[c];
      for_each_page(PageWord{missing[c]}, [&](unsigned page) {
        std::memset(memory_.at(ChunkIndex{c}, page), 0xee, kPageSize);
        if (seen_.taken_away++ % every_ == 0) touches_.push_back({ChunkIndex{c}, page});
      });
      if (~missing_[c] != 0 && (memory_.layout().valid_pages(ChunkIndex{c}) & ~missing_[c]) != 0) {
        const PageWord there = memory_.layout().valid_pages(ChunkIndex{c}) & ~missing_[c];
        touches_.push_back({ChunkIndex{c}, static_cast<unsigned>(std::countr_zero(there))});
      }
    }
    seen_.begun = true;
    changed_.notify_all();
    if (++seen_.begins == seen_.begin_that_fails) return fail(ErrorKind::kIo, "no room for a huge page");
    if (seen_.taken) seen_.taken();
    return {};
  }
  Result<std::vector<Touch>> await_touches() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return interrupted_ || !touches_.empty(); });
    std::vector<Touch> touches(touches_.begin(), touches_.end());
    touches_.clear();
    return touches;
  }
  Status put(ChunkIndex chunk, PageWord pages, Bytes in) override {
    if (seen_.before_put) seen_.before_put();
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(pages & ~missing_[chunk.value], 0U) << "a page that was there was overwritten";
    for_each_page(pages, [&](unsigned page) {
      std::memcpy(memory_.at(chunk, page), in.data(), kPageSize);
      in = in.subspan(kPageSize);
    });
    return have_come(chunk, pages);
  }
  Status put_zeros(ChunkIndex chunk, PageWord pages) override {
    const std::lock_guard lock(mutex_);
    for_each_page(PageWord{pages & missing_[chunk.value]},
                  [&](unsigned page) { std::memset(memory_.at(chunk, page), 0, kPageSize); });
    ++seen_.answered;
    return have_come(chunk, pages & missing_[chunk.value]);
  }
  Status end() override {
    seen_.ended = true;
    return {};
  }
  void interrupt() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      interrupted_ = true;
    }
    changed_.notify_all();
  }

 private:
  Status touch_again() {
    for (std::uint32_t c = 0; c < missing_.size(); ++c) {
      for_each_page(PageWord{missing_[c]}, [&](unsigned page) {
        if (page % every_ == 0) touches_.push_back({ChunkIndex{c}, page});
      });
    }
    changed_.notify_all();
    return {};
  }
  Status have_come(ChunkIndex chunk, PageWord pages) {
    missing_[chunk.value] &= ~pages;
    seen_.came += page_count(pages);
    return {};
  }
  PlainMemory& memory_;
  MissingPagesSeen& seen_;
  unsigned every_;
  const bool again_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Touch> touches_;
  std::vector<PageWord>& missing_;
  bool interrupted_ = false;
};

}  // namespace godwit::testing
