// The number of lanes changes while memory is copied: nothing is lost by it, and it ends no move that would have gone
// on.
#include "engine/lane_change.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cstring>
#include <future>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "log/log_target.h"
#include "log/log_writer.h"
#include "net/connect.h"
#include "net/rate_limit.h"
#include "tests/support/cutting_relay.h"
#include "tests/support/fake_migration.h"
#include "tests/support/fake_missing_pages.h"
#include "tests/support/passing_channel.h"

namespace godwit::lane_change_test {
namespace {

using namespace std::chrono_literals;
using testing::CuttingRelay;

constexpr BitRate kOfOneConnection{.bits_per_second = 16'000'000};

RamLayout enough_ram() {
  return RamLayout::make({{.name = "ram0", .size = 192 * kChunkSize + 7 * kPageSize}}).value();
}

/// Keeps the lines of a log.
class KeptLines final : public LogTarget {
 public:
  explicit KeptLines(std::string& lines) : lines_(lines) {}
  std::string render(const LogRecord& record) const override { return log_line(record); }
  bool write(std::string_view rendered) noexcept override {
    lines_ += rendered;
    return true;
  }

 private:
  std::string& lines_;
};

/// A move over connections that each carry little, of a guest that writes all the while and too much for its pause.
class LaneChanges : public testing::FakeMigration {
 protected:
  LaneChanges() : FakeMigration(enough_ram()) {}
  void SetUp() override {
    FakeMigration::SetUp();
    relay_.emplace(listener_->address());
    source_.with_memory([](auto& memory) {
      for (std::size_t at = 0; at < memory.layout().bytes(); at += 8) {
        const std::uint64_t word = (at + 1) * 0x9e3779b97f4a7c15;
        std::memcpy(memory.at(ChunkIndex{0}, 0) + at, &word, sizeof word);
      }
    });
    goals_.lanes = 2;
    goals_.most_lanes = 8;
    goals_.codec = CodecChoice{CodecId::kRaw, 0};
    goals_.link_patience = 30s;
    goals_.max_downtime = 0ms;
    connect_ = [this]() -> Result<std::unique_ptr<Channel>> {
      if (copying_ && on_connect_) TRY(on_connect_(++connects_));
      auto limit = limit_of_next();
      return limit_rate(TRY(connect_to(relay_->address())), std::move(limit));
    };
  }
  void TearDown() override {
    order_.reset();
    relay_.reset();
    FakeMigration::TearDown();
  }

  /// Each connection has one of its own, or all have the same.
  std::shared_ptr<RateLimit> limit_of_next() {
    const std::lock_guard lock(mutex_);
    if (!all_share_one_ || limits_.empty()) {
      limits_.push_back(std::make_shared<RateLimit>(is_lifted_ ? BitRate{} : kOfOneConnection, steady_));
    }
    return limits_.back();
  }
  void lift_limits() {
    const std::lock_guard lock(mutex_);
    is_lifted_ = true;
    for (const auto& limit : limits_) limit->change({});
  }
  void start() {
    order_.emplace(goals_);
    received_ = std::async(std::launch::async, [this] {
      auto parts = sink_parts(sink_);
      parts.cancelled = sink_cancel_.get_token();
      parts.on_note = [this](std::string_view note) { take_note("sink: ", note); };
      return run_sink(std::move(parts));
    });
    sent_ = std::async(std::launch::async, [this] {
      auto journal = begun_journal();
      auto parts = source_parts(source_, source_, journal, steady_);
      parts.steering = &*order_;
      parts.cancelled = cancel_.get_token();
      parts.log = log_;
      parts.lane_pace = {.every = 20ms,
                         .before = 600ms,
                         .settle = 100ms,
                         .trial = 600ms,
                         .least_left = 200ms,
                         .may_cost = 1,
                         .again = 10min};
      parts.on_note = [this](std::string_view note) { take_note("source: ", note); };
      parts.on_milestone = [this](Milestone milestone) { copying_ = copying_ || milestone == Milestone::kCopying; };
      return run_source(std::move(parts));
    });
    await([&] { return copying_.load(); });
  }
  template <typename Ready>
  void await(Ready ready) {
    for (const auto until = steady_.now() + 40s; !ready();) {
      ASSERT_LT(steady_.now(), until) << "waited too long; " << notes();
      ASSERT_TRUE(sent_.wait_for(2ms) != std::future_status::ready) << "it has ended; " << notes();
    }
  }
  /// Once, when the change's control connection has its first byte written.
  void when_it_greets(std::function<void()> act);
  void await_lanes(unsigned lanes) {
    await([&] { return count(fmt::format("sink: the source goes on with {} lanes", lanes)) > 0; });
  }
  Report end() {
    lift_limits();
    EXPECT_TRUE(order_->order(Order::kSwitchOver));
    return sent_.get();
  }
  void expect_moved(const Report& report) {
    ASSERT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message << "\n" << notes();
    EXPECT_EQ(received_.get().outcome, Outcome::kDone);
    EXPECT_FALSE(source_.runs());
    EXPECT_TRUE(sink_.runs());
    source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
  }
  /// And nobody has heard of a lost link.
  void expect_no_outage(const Report& report) {
    EXPECT_EQ(report.outages, 0U);
    EXPECT_EQ(count("the link"), 0U) << notes();
    EXPECT_EQ(count("is back"), 0U) << notes();
  }
  unsigned count(const std::string& what) {
    const std::string all = notes();
    unsigned found = 0;
    for (auto at = all.find(what); at != std::string::npos; at = all.find(what, at + 1)) ++found;
    return found;
  }
  void take_note(const char* who, std::string_view note) {
    if (on_note_) on_note_(note);
    const std::lock_guard lock(mutex_);
    notes_ += who + std::string(note) + "\n";
  }
  std::string notes() {
    const std::lock_guard lock(mutex_);
    return notes_;
  }

  std::optional<CuttingRelay> relay_;
  Log log_;
  std::optional<Steering> order_;
  std::stop_source cancel_, sink_cancel_;
  std::function<Status(unsigned)> on_connect_;  ///< any thread: of those while memory is copied, from 1 on
  std::function<void(std::string_view)> on_note_;
  std::atomic<unsigned> connects_{0};
  std::atomic<bool> copying_{false};
  bool all_share_one_ = false;
  bool is_lifted_ = false;
  std::future<SinkReport> received_;
  std::future<Report> sent_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<RateLimit>> limits_;
  std::string notes_;
};

TEST_F(LaneChanges, MoreLanesCarryMoreWhereEachHasALimit) {
  start();
  await_lanes(4);
  await_lanes(8);
  const auto report = end();
  expect_moved(report);
  expect_no_outage(report);
  EXPECT_EQ(report.lanes, 8U);
}

TEST_F(LaneChanges, ThereAreAsManyAsBeforeWhereMoreDoNotHelp) {
  all_share_one_ = true;
  goals_.most_lanes = 32;  // a machine that is busy may hold up the lanes before a trial more than in it
  std::atomic<unsigned> lanes{2};
  std::atomic<bool> went_back{false};
  on_note_ = [&](std::string_view note) {
    constexpr std::string_view kBefore = "the source goes on with ";
    if (!note.starts_with(kBefore)) return;
    const auto now = static_cast<unsigned>(std::stoul(std::string(note.substr(kBefore.size()))));
    went_back = went_back || now == lanes / 2;
    lanes = now;
  };
  start();
  await_lanes(4);
  await([&] { return went_back.load(); });
  const auto report = end();
  expect_moved(report);
  expect_no_outage(report);
  EXPECT_EQ(report.lanes, lanes);
}

/// Of the pages that were on their way nearly all are known to be there.
TEST_F(LaneChanges, WhatWasSentBeforeIsNotSentAgain) {
  goals_.most_lanes = 4;
  source_.rests = true;
  start();
  await_lanes(4);
  const auto report = end();
  expect_moved(report);
  // A lane may have claimed one chunk more when it was told to stop.
  EXPECT_LE(report.pages_resent, 2U * kPagesPerChunk);
}

TEST_F(LaneChanges, TheOldLanesGoOnWhereNewOnesCannotBeOpened) {
  on_connect_ = [](unsigned number) -> Status {
    if (number <= 2) return {};
    return fail(ErrorKind::kPeerLost, "no further connection");
  };
  start();
  await([&] { return connects_ >= 3; });
  std::this_thread::sleep_for(500ms);
  const auto report = end();
  expect_moved(report);
  expect_no_outage(report);
  EXPECT_EQ(report.lanes, 2U);
}

TEST_F(LaneChanges, TheOldLanesGoOnWhereWhatIsOnItsWayDoesNotArrive) {
  on_connect_ = [this](unsigned number) -> Status {
    if (number == 5) relay_->hold(true);
    return {};
  };
  start();
  await([&] { return connects_ >= 5; });
  std::this_thread::sleep_for(4500ms);
  relay_->hold(false);
  const auto report = end();
  expect_moved(report);
  EXPECT_EQ(report.lanes, 2U);
}

TEST_F(LaneChanges, NothingChangesWhereNoOutageIsBorne) {
  goals_.link_patience = {};
  start();
  std::this_thread::sleep_for(2s);
  const auto report = end();
  expect_moved(report);
  EXPECT_EQ(report.lanes, 2U);
  EXPECT_EQ(connects_, 0U);
}

TEST_F(LaneChanges, NothingChangesWhereTheOperatorHasChosen) {
  goals_.most_lanes = 2;
  start();
  std::this_thread::sleep_for(2s);
  const auto report = end();
  expect_moved(report);
  EXPECT_EQ(report.lanes, 2U);
}

TEST_F(LaneChanges, ASwitchoverMayComeRightAfterOne) {
  on_note_ = [this](std::string_view note) {
    if (!note.starts_with("the source goes on with")) return;
    lift_limits();
    (void)order_->order(Order::kSwitchOver);
  };
  start();
  const auto report = sent_.get();
  expect_moved(report);
  expect_no_outage(report);
  EXPECT_EQ(report.lanes, 4U);
}

TEST_F(LaneChanges, APostcopyMayComeAfterOne) {
  testing::MissingPagesSeen seen;
  sink_.on_missing_pages = [&]() -> Result<std::unique_ptr<MissingPages>> {
    return std::make_unique<testing::FakeMissingPages>(sink_.plain(), seen, 7);
  };
  goals_.may_be_ordered = true;
  start();
  await_lanes(4);
  lift_limits();
  EXPECT_TRUE(order_->order(Order::kPostcopy));
  const auto report = sent_.get();
  EXPECT_TRUE(report.postcopy);
  expect_moved(report);
  expect_no_outage(report);
}

TEST_F(LaneChanges, WhoCancelsWhileOneIsUnderWayDoesNotWait) {
  on_connect_ = [this](unsigned number) -> Status {
    if (number == 5) relay_->hold(true);
    return {};
  };
  start();
  await([&] { return connects_ >= 5; });
  std::this_thread::sleep_for(300ms);
  cancel_.request_stop();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kCancelled) << report.error->message;
  relay_->hold(false);
  sink_cancel_.request_stop();
  EXPECT_NE(received_.get().outcome, Outcome::kDone);
}

/// When the change's connections are opened, and at some moment of it.
class CancelledLaneChanges : public LaneChanges, public ::testing::WithParamInterface<int> {};
TEST_P(CancelledLaneChanges, EndAtOnce) {
  std::atomic<bool> begun{false};
  on_connect_ = [&](unsigned number) -> Status {
    begun = begun || number == 5;
    return {};
  };
  start();
  await([&] { return begun.load(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(GetParam()));
  cancel_.request_stop();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kCancelled) << report.error->message;
  // It is told, if that gets there within a moment.
  if (received_.wait_for(3s) != std::future_status::ready) sink_cancel_.request_stop();
  EXPECT_EQ(received_.get().outcome, Outcome::kSourceRuns);
}
INSTANTIATE_TEST_SUITE_P(After, CancelledLaneChanges, ::testing::Values(0, 5, 20, 50, 80));

/// Tells when the first byte is written.
class TellingChannel final : public testing::PassingChannel {
 public:
  TellingChannel(std::unique_ptr<Channel> inner, std::function<void()> tell)
      : PassingChannel(std::move(inner)), tell_(std::move(tell)) {}
  Status write(std::span<const iovec> parts, const Deadline& until) override {
    if (const auto tell = std::exchange(tell_, {})) tell();
    return PassingChannel::write(parts, until);
  }

 private:
  std::function<void()> tell_;
};

void LaneChanges::when_it_greets(std::function<void()> act) {
  connect_ = [this, act = std::move(act), connect = connect_]() -> Result<std::unique_ptr<Channel>> {
    const bool is_control = copying_ && connects_ == 0;
    auto channel = TRY(connect());
    if (!is_control) return channel;
    on_connect_ = {};
    return std::make_unique<TellingChannel>(std::move(channel), act);
  };
  on_connect_ = [](unsigned) { return Status{}; };
}

/// A link that is cut in the middle of a change.
class CutLaneChanges : public LaneChanges, public ::testing::WithParamInterface<unsigned> {
 protected:
  void expect_ridden_out() {
    await([&] { return relay_->has_cut(); });
    await([&] { return count("source: the link is back") > 0; });
    const auto report = end();
    expect_moved(report);
    EXPECT_GE(report.outages, 1U);
    EXPECT_EQ(report.outages, count("source: the link is back"));
  }
};

/// So many bytes after its connections are open: what was on its way may not have arrived.
class EarlyCutLaneChanges : public CutLaneChanges {};
TEST_P(EarlyCutLaneChanges, AreRiddenOut) {
  on_connect_ = [&](unsigned number) -> Status {
    if (number == 5) relay_->cut_after(GetParam());
    return {};
  };
  start();
  await([&] { return connects_ >= 5; });
  expect_ridden_out();
}
INSTANTIATE_TEST_SUITE_P(After, EarlyCutLaneChanges, ::testing::Values(0U, 20'000U, 100'000U, 800'000U));

/// So many bytes after the source has begun to greet: in its greeting, in Hello, in the lanes' greetings, behind them.
TEST_P(CutLaneChanges, AreRiddenOut) {
  when_it_greets([this] { relay_->cut_after(GetParam()); });
  start();
  await([&] { return connects_ == 1; });
  expect_ridden_out();
}
INSTANTIATE_TEST_SUITE_P(After, CutLaneChanges,
                         ::testing::Values(0U, 20U, 48U, 60U, 300U, 600U, 900U, 1000U, 1100U, 3000U, 9000U, 500'000U));

/// Which would wait for half of --link-patience.
TEST_F(LaneChanges, ADeadlineIsKeptWhileTheSinkDoesNotAnswer) {
  when_it_greets([this] { relay_->hold(true); });
  goals_.deadline = 3s;
  std::string lines;
  auto writer = std::make_shared<LogWriter>(std::make_unique<KeptLines>(lines));
  log_ = Log(writer, LogLevel::kInfo, steady_);
  start();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(connects_, 1U);
  EXPECT_EQ(report.error->kind, ErrorKind::kTimedOut) << report.error->message;
  log_ = {};
  writer.reset();
  EXPECT_THAT(lines, ::testing::ContainsRegex("event=lanes-kept [^\n]*it did not converge"));
  relay_->hold(false);
  sink_cancel_.request_stop();
  EXPECT_NE(received_.get().outcome, Outcome::kDone);
}

/// They are open and broken, some of them: that shows when the sink has ended the old ones.
class BrokenLaneChanges : public LaneChanges, public ::testing::WithParamInterface<unsigned> {};
TEST_P(BrokenLaneChanges, EndNoMove) {
  on_connect_ = [&](unsigned number) -> Status {
    if (number == GetParam()) relay_->let_through(false);
    if (number == 6) relay_->let_through(true);
    return {};
  };
  start();
  await([&] { return connects_ >= 5; });
  relay_->let_through(true);
  std::this_thread::sleep_for(1s);
  const auto report = end();
  EXPECT_TRUE(report.outages == 0 || report.lanes == 2) << "they were too many for what is between the hosts";
  expect_moved(report);
}
INSTANTIATE_TEST_SUITE_P(From, BrokenLaneChanges, ::testing::Values(1U, 2U, 4U, 5U));

}  // namespace
}  // namespace godwit::lane_change_test
