// The board: what is posted is claimed once, by one.
#include "memory/board.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <thread>
#include <vector>

namespace godwit::board_test {
namespace {

TEST(Board, ClaimsWhatWasPosted) {
  Board board(3);
  EXPECT_EQ(board.chunk_count(), 3u);
  EXPECT_EQ(board.claim({0}), 0u);
  board.post({1}, 0b0110);
  board.post({1}, 0b0011);
  board.post({2}, 0);
  EXPECT_EQ(board.waiting(), 3u);
  EXPECT_EQ(board.peek({1}), 0b0111u);
  EXPECT_EQ(board.claim({1}), 0b0111u);
  EXPECT_EQ(board.waiting(), 0u);
  EXPECT_EQ(board.claim({1}), 0u);
  EXPECT_EQ(board.claim({2}), 0u);
  board.post({0}, kAllPages);
  EXPECT_EQ(board.waiting(), 64u);
}

TEST(Board, AnnouncementEndsTheWait) {
  Board board(1);
  const auto seen = board.epoch();
  PageWord found = 0;
  std::thread lane([&] {
    board.await_epoch_after(seen);
    found = board.claim({0});
  });
  board.post({0}, 5);
  board.announce();
  lane.join();
  EXPECT_EQ(found, 5u);
  EXPECT_NE(board.epoch(), seen);
  board.await_epoch_after(seen);  // an epoch that is over does not block
}

// Posters give every page of every post a version; claimers note the last version that they saw of a page. Nothing is
// lost: the last version of each page is seen. Nothing is claimed twice: no more pages claimed than posted, and none
// while another holds the only post of it.
TEST(Board, NothingIsLostUnderContention) {
  constexpr std::uint32_t kChunks = 8;
  constexpr int kPosters = 3;
  constexpr int kClaimers = 3;
  constexpr int kRounds = 20'000;
  Board board(kChunks);
  std::vector<std::atomic<std::uint32_t>> version(kChunks * 64);
  std::vector<std::atomic<std::uint32_t>> seen(kChunks * 64);
  std::atomic<std::uint64_t> posted{0};
  std::atomic<std::uint64_t> claimed{0};
  std::atomic<bool> over{false};

  const auto note = [&](std::uint32_t chunk, PageWord pages) {
    claimed += page_count(pages);
    for_each_page(pages, [&](unsigned page) {
      const auto now = version[chunk * 64 + page].load(std::memory_order_relaxed);
      auto& last = seen[chunk * 64 + page];
      auto before = last.load();
      while (before < now && !last.compare_exchange_weak(before, now)) {
      }
    });
  };
  std::vector<std::thread> posters;
  for (int i = 0; i < kPosters; ++i) {
    posters.emplace_back([&, i] {
      std::mt19937_64 random(static_cast<std::uint64_t>(i));
      for (int round = 0; round < kRounds; ++round) {
        const auto chunk = static_cast<std::uint32_t>(random() % kChunks);
        const PageWord pages = random() & random() & random();
        for_each_page(pages,
                      [&](unsigned page) { version[chunk * 64 + page].fetch_add(1, std::memory_order_relaxed); });
        board.post({chunk}, pages);
        posted += page_count(pages);
        if (round % 16 == 0) board.announce();
      }
      board.announce();
    });
  }
  std::vector<std::thread> claimers;
  std::atomic<bool> absurd{false};
  for (int i = 0; i < kClaimers; ++i) {
    claimers.emplace_back([&] {
      for (;;) {
        const auto epoch = board.epoch();
        const bool last_sweep = over.load();
        bool found = false;
        for (std::uint32_t chunk = 0; chunk < kChunks; ++chunk) {
          const PageWord pages = board.claim({chunk});
          found |= pages != 0;
          note(chunk, pages);
        }
        // At most all pages wait, and each poster may have counted a chunk's worth ahead.
        if (board.waiting() > (kChunks + kPosters) * 64) absurd = true;
        if (found) continue;
        if (last_sweep) return;
        board.await_epoch_after(epoch);
      }
    });
  }
  for (auto& thread : posters) thread.join();
  over = true;
  board.announce();
  for (auto& thread : claimers) thread.join();

  EXPECT_FALSE(absurd) << "the count of waiting pages wrapped";
  EXPECT_EQ(board.waiting(), 0u);
  EXPECT_LE(claimed.load(), posted.load());
  for (std::size_t page = 0; page < version.size(); ++page) {
    ASSERT_EQ(seen[page].load(), version[page].load()) << "page " << page;
  }
}

// One thread posts page after page, another claims the same word all the while: it stays at the poster's heels, because
// it takes whole words. Each page must come once, and the count must never wrap.
TEST(Board, NoPostIsLostToAClaim) {
  constexpr std::uint32_t kChunks = 20'000;
  Board board(kChunks);
  std::atomic<std::uint32_t> posted{0};
  std::thread poster([&] {
    for (std::uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      for (unsigned page = 0; page < 64; ++page) board.post({chunk}, PageWord{1} << page);
      posted.store(chunk + 1);
    }
  });
  std::uint64_t wrong = 0;
  for (std::uint32_t chunk = 0; chunk < kChunks; ++chunk) {
    PageWord claimed = 0;
    std::size_t pages = 0;
    for (bool last = false; !last;) {
      last = posted.load() > chunk;
      const PageWord found = board.claim({chunk});
      claimed |= found;
      pages += page_count(found);
      if (board.waiting() > kChunks * 64) ++wrong;
    }
    if (claimed != kAllPages || pages != 64) ++wrong;
  }
  poster.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(board.waiting(), 0u);
}

// Two threads post different pages of one word. What one of them has posted must be there, whatever the other does.
TEST(Board, NoPostIsLostToAnother) {
  Board board(1);
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over.load(std::memory_order_relaxed)) board.post({0}, 0b10);
  });
  std::uint64_t lost = 0;
  for (int i = 0; i < 300'000; ++i) {
    board.post({0}, 0b01);
    if ((board.peek({0}) & 0b01) == 0) ++lost;
    if ((board.claim({0}) & 0b01) == 0) ++lost;
  }
  over = true;
  other.join();
  EXPECT_EQ(lost, 0u);
  const auto waiting = board.waiting();
  EXPECT_EQ(waiting, page_count(board.claim({0})));
}

// One word, posted and claimed without a pause: as many pages come out as went in.
TEST(Board, AClaimTakesWhatItEmpties) {
  Board board(1);
  std::atomic<bool> over{false};
  std::uint64_t posted = 0;
  std::thread poster([&] {
    for (unsigned i = 0; i < 1'000'000; ++i) {
      const PageWord page = PageWord{1} << i % 64;
      if ((board.peek({0}) & page) != 0) continue;
      board.post({0}, page);
      ++posted;
    }
    over = true;
  });
  std::uint64_t claimed = 0;
  for (bool last = false; !last;) {
    last = over.load();
    claimed += page_count(board.claim({0}));
  }
  poster.join();
  EXPECT_EQ(claimed, posted);
}

// Each page is posted once only; so each must be claimed exactly once, though all claimers sweep all chunks.
TEST(Board, NothingIsClaimedTwice) {
  constexpr std::uint32_t kChunks = 2000;
  constexpr int kClaimers = 3;
  Board board(kChunks);
  std::vector<std::atomic<std::uint32_t>> times(kChunks * 64);
  std::atomic<bool> over{false};
  std::vector<std::thread> claimers;
  for (int i = 0; i < kClaimers; ++i) {
    claimers.emplace_back([&] {
      for (bool last = false; !last;) {
        last = over.load();
        for (std::uint32_t chunk = 0; chunk < kChunks; ++chunk) {
          for_each_page(board.claim({chunk}), [&](unsigned page) { ++times[chunk * 64 + page]; });
        }
      }
    });
  }
  std::array<std::thread, 2> posters;
  for (std::size_t i = 0; i < posters.size(); ++i) {
    posters[i] = std::thread([&, i] {
      const PageWord half = i == 0 ? 0x5555555555555555 : 0xaaaaaaaaaaaaaaaa;
      for (std::uint32_t chunk = 0; chunk < kChunks; ++chunk) {
        for_each_page(half, [&](unsigned page) { board.post({chunk}, PageWord{1} << page); });
      }
    });
  }
  for (auto& thread : posters) thread.join();
  over = true;
  for (auto& thread : claimers) thread.join();
  for (std::size_t page = 0; page < times.size(); ++page) ASSERT_EQ(times[page].load(), 1u) << "page " << page;
  EXPECT_EQ(board.waiting(), 0u);
}

TEST(Board, WithdrawsOnlyWhatWaits) {
  Board board(2);
  board.post(ChunkIndex{1}, 0b1101);
  EXPECT_EQ(board.withdraw(ChunkIndex{0}, kAllPages), 0u);
  EXPECT_EQ(board.withdraw(ChunkIndex{1}, 0b0110), 0b0100u);
  EXPECT_EQ(board.waiting(), 2u);
  EXPECT_EQ(board.withdraw(ChunkIndex{1}, 0b0110), 0u);
  EXPECT_EQ(board.claim(ChunkIndex{1}), 0b1001u);
  EXPECT_EQ(board.waiting(), 0u);
}

}  // namespace
}  // namespace godwit::board_test
