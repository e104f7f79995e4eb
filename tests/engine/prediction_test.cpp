// What the autopilot is told of pages that cost next to nothing to send, and of pages that cost more than those before.
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "engine/autopilot.h"
#include "net/rate_limit.h"
#include "tests/support/fake_migration.h"

namespace godwit::prediction_test {
namespace {

using namespace std::chrono_literals;

/// A guest that writes the same pages between any two harvests.
class Writes final : public DirtyTracker {
 public:
  using Write = std::function<void(testing::PlainMemory&, ChunkIndex, unsigned page)>;
  Writes(testing::FakeSourceVm& vm, std::vector<PageWord> pages, Write write)
      : vm_(vm), pages_(std::move(pages)), write_(std::move(write)) {}
  Status start(std::uint32_t) override { return {}; }
  Result<HarvestStats> harvest(Board& board) override {
    HarvestStats stats;
    vm_.with_memory([&](testing::PlainMemory& memory) {
      for (std::uint32_t c = 0; c < pages_.size(); ++c) {
        for_each_page(pages_[c], [&](unsigned page) { write_(memory, ChunkIndex{c}, page); });
        board.post(ChunkIndex{c}, pages_[c]);
        stats.pages += page_count(pages_[c]);
      }
    });
    board.announce();
    return stats;
  }
  Result<HarvestStats> harvest_near_stop(Board& board, const std::function<bool()>&) override { return harvest(board); }
  Result<HarvestStats> harvest_last(Board& board) override { return harvest(board); }
  Status find_absent(AbsentPages&) override { return {}; }
  Result<std::uint64_t> settle(Board&) override { return std::uint64_t{0}; }
  Status stop() override { return {}; }

 private:
  testing::FakeSourceVm& vm_;
  std::vector<PageWord> pages_;
  Write write_;
};

class Prediction : public testing::FakeMigration {
 protected:
  Report move(testing::FakeSourceVm& source, testing::FakeSinkVm& sink, DirtyTracker& tracker, BitRate rate) {
    return move(source, sink, tracker, rate, steady_);
  }
  Report move(testing::FakeSourceVm& source, testing::FakeSinkVm& sink, DirtyTracker& tracker, BitRate rate,
              const Clock& clock) {
    auto received = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
    auto journal = begun_journal();
    auto limit = std::make_shared<RateLimit>(rate, steady_);
    auto parts = source_parts(source, tracker, journal, clock);
    // The link itself is that slow, so the limit is never lifted.
    parts.connect = [&]() -> Result<std::unique_ptr<Channel>> {
      return limit_rate(TRY(connect_to(listener_->address())), limit);
    };
    auto report = run_source(std::move(parts));
    received.get();
    return report;
  }
};

constexpr BitRate kSlow{20'000'000};

TEST_F(Prediction, PagesRewrittenAsTheyWereDoNotKeepTheGuestFromMoving) {
  goals_.max_downtime = 50ms;
  goals_.timeout = 60s;
  testing::FakeSourceVm source(testing::small_ram(), 0);
  testing::FakeSinkVm sink(testing::small_ram());
  std::mt19937_64 random(3);
  source.with_memory([&](testing::PlainMemory& memory) {
    for (std::uint32_t c = 0; c < 8; ++c) {
      for (std::size_t at = 0; at < kChunkSize; at += 8) {
        const auto value = random();
        std::memcpy(memory.at(ChunkIndex{c}, 0) + at, &value, 8);
      }
    }
  });
  Writes same(source, std::vector<PageWord>(8, kAllPages), [](auto&, ChunkIndex, unsigned) {});
  const auto report = move(source, sink, same, kSlow);
  EXPECT_EQ(report.outcome, Outcome::kDone) << "nothing was left to send, ever";
}

/// Not one page of data, and no page is ever written: no lane learns how fast the link is.
TEST_F(Prediction, AGuestOfZerosThatWritesNothingIsMovedAtOnce) {
  goals_.timeout = 10s;
  testing::FakeSourceVm source(testing::small_ram(), 0);
  testing::FakeSinkVm sink(testing::small_ram());
  Writes nothing(source, std::vector<PageWord>(8), [](auto&, ChunkIndex, unsigned) {});
  const auto report = move(source, sink, nothing, kSlow);
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(report.pages_data, 0U);
}

/// The same with data: all of it goes before anybody has looked at a rate.
TEST_F(Prediction, AGuestThatWritesNothingIsMovedAtOnce) {
  goals_.timeout = 10s;
  testing::FakeSourceVm source(testing::small_ram(), 0);
  testing::FakeSinkVm sink(testing::small_ram());
  source.with_memory([&](testing::PlainMemory& memory) { std::memset(memory.at(ChunkIndex{1}, 0), 0xaa, kChunkSize); });
  Writes nothing(source, std::vector<PageWord>(8), [](auto&, ChunkIndex, unsigned) {});
  const auto report = move(source, sink, nothing, kSlow);
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
}

/// A clock that runs 250 times as fast as time.
class FastClock final : public Clock {
 public:
  Instant now() const noexcept override { return begin_ + (steady_.now() - begin_) * 250; }

 private:
  SteadyClock steady_;
  Instant begin_ = steady_.now();
};

/// Whoever allows a pause of minutes gets one that takes longer than patience for other things does.
TEST_F(Prediction, APauseOfMinutesMayTakeMinutes) {
  const FastClock fast;
  goals_.max_downtime = 600s;
  goals_.timeout = 1000h;
  goals_.codec = CodecChoice{CodecId::kRaw, 0};
  testing::FakeSourceVm source(testing::small_ram(), 0);
  testing::FakeSinkVm sink(testing::small_ram());
  std::mt19937_64 random(3);
  // 2 MiB of random bytes at 50 Mbit/s are 0.34 s, which this clock calls 84.
  Writes all(source, std::vector<PageWord>(8, kAllPages),
             [&](testing::PlainMemory& memory, ChunkIndex c, unsigned page) {
               for (std::size_t at = 0; at < kPageSize; at += 8) {
                 const auto value = random();
                 std::memcpy(memory.at(c, page) + at, &value, 8);
               }
             });
  const auto report = move(source, sink, all, BitRate{50'000'000}, fast);
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_GT(report.pause, 60s) << "it was no long pause";
}

TEST_F(Prediction, CheapPagesSentBeforeDoNotMakeDearOnesLookCheap) {
  goals_.max_downtime = 50ms;
  goals_.timeout = 2s;
  constexpr std::uint32_t kChunks = 1024;
  const auto layout = RamLayout::make({{.name = "ram0", .size = kChunks * kChunkSize}}).value();
  testing::FakeSourceVm source(layout, 0);
  testing::FakeSinkVm sink(layout);
  source.with_memory(
      [&](testing::PlainMemory& memory) { std::memset(memory.at(ChunkIndex{0}, 0), 0xaa, kChunks * kChunkSize); });
  std::vector<PageWord> hot(kChunks);
  hot[0] = hot[1] = kAllPages;
  std::mt19937_64 random(3);
  Writes dear(source, hot, [&](testing::PlainMemory& memory, ChunkIndex chunk, unsigned page) {
    for (std::size_t at = 0; at < kPageSize; at += 8) {
      const auto value = random();
      std::memcpy(memory.at(chunk, page) + at, &value, 8);
    }
  });
  const auto report = move(source, sink, dear, kSlow);
  // 512 KiB of random bytes at 20 Mbit/s are 210 ms: this guest cannot be moved within the bound.
  EXPECT_EQ(report.outcome, Outcome::kSourceRuns) << "the pause was " << format_duration(report.pause);
}

TEST(PredictedPause, IsNeverShorterThanThatOfTheDevicesHoweverSlowTheLanesSeem) {
  const Sample s{.elapsed = 10s,
                 .drained = true,
                 .harvests = 3,
                 .last_harvest = 250'000'000,  // 1 TiB
                 .last_interval = 1s,
                 .since_harvest = 1s,
                 .wire_bytes_per_second = 64,  // fences only: nothing had changed
                 .wire_bytes_per_page = 4096};
  EXPECT_GT(*predict_pause(s), Duration::zero());
  EXPECT_FALSE(std::holds_alternative<SwitchOver>(decide({}, s)));
}

}  // namespace
}  // namespace godwit::prediction_test
