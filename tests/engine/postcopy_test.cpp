// Post-copy between fakes: what is missing when the guest starts at the sink comes, what it touches comes first, and
// whatever breaks before the commit leaves the guest at the source.
#include <gmock/gmock.h>

#include <future>
#include <numeric>

#include "base/small_files.h"
#include "engine/all_there.h"
#include "engine/sink_resumption.h"
#include "net/connect.h"
#include "tests/support/cutting_relay.h"
#include "tests/support/fake_migration.h"
#include "tests/support/fake_missing_pages.h"

namespace godwit::postcopy_test {
namespace {

using namespace std::chrono_literals;
using godwit::testing::FakeMissingPages;
using godwit::testing::MissingPagesSeen;
using ::testing::HasSubstr;

RamLayout some_ram() {
  return RamLayout::make(
             {{.name = "ram0", .size = 3 * kChunkSize + 5 * kPageSize}, {.name = "ram1", .size = 16 * kChunkSize}})
      .value();
}

class PostcopyOfFakes : public godwit::testing::FakeMigration {
 protected:
  PostcopyOfFakes() : FakeMigration(some_ram()) {
    goals_.on_deadline = OnDeadline::kPostcopy;
    goals_.deadline = 0s;  // at once: nothing is copied before
    sink_.on_missing_pages = [this]() -> Result<std::unique_ptr<MissingPages>> {
      return std::make_unique<FakeMissingPages>(sink_.plain(), seen_, 7);
    };
  }

  struct Ends {
    Report source;
    SinkReport sink;
  };
  Ends move() {
    auto received = std::async(std::launch::async, [this] { return receive(); });
    Ends ends{.source = send(steady_), .sink = {}};
    ends.sink = received.get();
    return ends;
  }
  bool same_memory() {
    bool same = false;
    source_.with_memory([&](const auto& memory) { same = memory.bytes() == sink_.plain().bytes(); });
    return same;
  }

  std::mutex mutex_;
  MissingPagesSeen seen_;
};

TEST_F(PostcopyOfFakes, BringsEveryPageAndThoseThatAreTouchedPastTheLanes) {
  source_.run_ahead(200);
  const auto ends = move();
  ASSERT_EQ(ends.source.outcome, Outcome::kDone) << ends.source.error->message;
  EXPECT_EQ(ends.sink.outcome, Outcome::kDone);
  EXPECT_TRUE(sink_.runs());
  EXPECT_TRUE(ends.source.postcopy);
  EXPECT_GT(ends.source.pages_missing, 0U);
  EXPECT_GT(ends.source.pages_asked_for, 0U);
  EXPECT_GT(seen_.answered, 0U) << "touches of pages that were not missing";
  EXPECT_EQ(seen_.taken_away, ends.source.pages_missing);
  EXPECT_EQ(seen_.came, seen_.taken_away);
  EXPECT_TRUE(seen_.ended);
  EXPECT_TRUE(same_memory());
}

/// Of what the guest writes while the first map is followed, which takes long where much is missing, its pause has
/// nothing.
TEST_F(PostcopyOfFakes, HasInItsPauseNoneOfWhatWasWrittenWhileTheSinkTookPagesAway) {
  goals_.deadline = 300ms;
  goals_.max_downtime = 0ms;
  std::vector<std::uint64_t> taken;  // by each map
  seen_.taken = [&] {
    taken.push_back(seen_.taken_away - std::accumulate(taken.begin(), taken.end(), std::uint64_t{0}));
    if (taken.size() > 1) return;
    source_.run_ahead(200);
    source_.rests = true;
  };
  const auto ends = move();
  ASSERT_EQ(ends.source.outcome, Outcome::kDone) << ends.source.error->message;
  ASSERT_GE(taken.size(), 4U) << "ahead, again, right before the stop, and in the pause";
  EXPECT_GT(taken[1], 0U);
  EXPECT_EQ(taken.back(), 0U);
  EXPECT_TRUE(same_memory());
}

TEST_F(PostcopyOfFakes, IsNotBegunWhereTheMoveConvergesByItself) {
  goals_.deadline.reset();
  source_.rests = true;
  const auto ends = move();
  ASSERT_EQ(ends.source.outcome, Outcome::kDone) << ends.source.error->message;
  EXPECT_FALSE(ends.source.postcopy);
  EXPECT_FALSE(seen_.begun);
  EXPECT_TRUE(same_memory());
}

TEST_F(PostcopyOfFakes, IsRefusedWhereTheSinkCannotWait) {
  sink_.on_missing_pages = nullptr;
  auto received = std::async(std::launch::async, [this] {
    auto parts = sink_parts(sink_);
    parts.patience = 2s;
    return run_sink(std::move(parts));
  });
  const Report report = send(steady_);
  EXPECT_THAT(report.error->message, HasSubstr("the fake hypervisor cannot wait for memory"));
  EXPECT_THAT(report.error->message, HasSubstr("--on-deadline"));
  expect_source_runs_alone(report);
  listener_->abort();
  received.get();
}

TEST_F(PostcopyOfFakes, LeavesTheGuestAtTheSourceIfDevicesCannotBeLoaded) {
  source_.run_ahead(200);
  sink_.fail_load = true;
  const auto ends = move();
  EXPECT_TRUE(seen_.begun);
  EXPECT_TRUE(sink_.ended) << "what lacks pages could be taken for the guest";
  expect_source_runs_alone(ends.source);
  EXPECT_EQ(ends.sink.outcome, Outcome::kSourceRuns);
}

/// A lane breaks between the source's decision and the sink's reading of it: what is there is ended, and the source
/// takes its guest back.
TEST_F(PostcopyOfFakes, ComesBackIfTheSinkFailsBeforeItReadsTheCommit) {
  source_.run_ahead(200);
  std::vector<Channel*> channels;
  connect_ = [&, connect = connect_]() -> Result<std::unique_ptr<Channel>> {
    auto channel = TRY(connect());
    const std::lock_guard lock(mutex_);
    channels.push_back(channel.get());
    return channel;
  };
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const Report report = send(steady_, [&](Milestone milestone) {
    if (milestone != Milestone::kPrepared) return;
    channels.back()->abort();  // that of urgent pages
    std::this_thread::sleep_for(300ms);
  });
  EXPECT_NE(report.outcome, Outcome::kDone);
  EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns);
  EXPECT_TRUE(sink_.ended);
  EXPECT_FALSE(sink_.runs());
  EXPECT_EQ(report.outcome, Outcome::kSourceRuns) << report.error->message;
  EXPECT_TRUE(source_.runs());
}

/// Nothing of the guest will come: whoever touched what was taken away would wait for ever, in the next guest, too.
TEST_F(PostcopyOfFakes, LetsGoOfMemoryThatWasTakenAwayAheadIfTheMoveEndsThen) {
  source_.run_ahead(200);
  testing::CuttingRelay relay(listener_->address());
  connect_ = [&] { return connect_to(relay.address()); };
  seen_.taken = [&] { relay.cut_after(0); };
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const Report report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kSourceRuns);
  EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns);
  EXPECT_TRUE(source_.runs());
  EXPECT_TRUE(seen_.begun);
  EXPECT_TRUE(seen_.ended);
  EXPECT_FALSE(sink_.ended) << "nothing was loaded: it can take in another guest";
}

/// Half of it may have been taken away.
TEST_F(PostcopyOfFakes, LetsGoOfMemoryOfWhichItCouldNotTakeAllAway) {
  for (const unsigned which : {1U, 2U}) {
    source_.run_ahead(200);
    seen_.begins = 0;
    seen_.begin_that_fails = which;
    seen_.ended = false;
    auto received = std::async(std::launch::async, [this] { return receive(); });
    const Report report = send(steady_);
    EXPECT_EQ(report.outcome, Outcome::kSourceRuns) << which;
    EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns) << which;
    EXPECT_TRUE(source_.runs());
    EXPECT_TRUE(seen_.ended) << which;
  }
}

/// It runs at the sink by then: two of it would write to the same disks.
TEST_F(PostcopyOfFakes, PausesAGuestAgainThatSomebodyLetsRunAtTheSource) {
  source_.run_ahead(200);
  std::atomic<unsigned> pauses{0};
  source_.on_call = [&](std::string_view what) {
    if (what != "pause") return;
    ++pauses;
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
  };
  seen_.before_put = [&] {
    for (int i = 0; i < 1000 && pauses < 2; ++i) std::this_thread::sleep_for(10ms);
  };
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const Report report = send(steady_, [&](Milestone milestone) {
    if (milestone == Milestone::kRunsEarly) source_.let_run_by_others = true;
  });
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  EXPECT_EQ(report.outcome, Outcome::kDone);
  EXPECT_GE(pauses, 2U) << "he may have let it run once more";
}

/// From the guest's start on this host is needed: that is said, and nothing is let go.
TEST_F(PostcopyOfFakes, IsIncompleteIfTheSinkIsLostWhileTheGuestRunsThere) {
  source_.run_ahead(200);
  Channel* control = nullptr;
  connect_ = [&, connect = connect_]() -> Result<std::unique_ptr<Channel>> {
    auto channel = TRY(connect());
    if (control == nullptr) control = channel.get();
    return channel;
  };
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const Report report = send(steady_, [&](Milestone milestone) {
    if (milestone == Milestone::kRunsEarly) control->abort();
  });
  EXPECT_EQ(report.outcome, Outcome::kIncomplete);
  EXPECT_THAT(report.error->message, HasSubstr("do not end QEMU"));
  EXPECT_EQ(received.get().outcome, Outcome::kIncomplete);
  EXPECT_FALSE(seen_.ended) << "a guest that lacks pages would read zeros";
  EXPECT_FALSE(source_.runs());
}

/// It hangs up as soon as it has been told: the sink must still let go of the guest's memory.
TEST(AllThereTest, IsConfirmedToWhoeverSeesTheSourceGoMeanwhile) {
  std::atomic<bool> told{false};
  AllThere all_there([&] {
    told = true;
    std::this_thread::sleep_for(100ms);
  });
  EXPECT_FALSE(all_there.confirmed());
  all_there.last_page_placed();
  EXPECT_FALSE(all_there.confirmed());
  std::jthread lane([&] { all_there.last_fence_passed(); });
  while (!told) std::this_thread::yield();
  EXPECT_TRUE(all_there.confirmed());
}

// ---- gone on with

constexpr std::string_view kThisMove = "abc123";

class BrokenOff : public PostcopyOfFakes {
 protected:
  BrokenOff() {
    process_ = {::getpid(), read_start_time(::getpid()).value()};
    sink_.on_missing_pages = [this]() -> Result<std::unique_ptr<MissingPages>> {
      constexpr unsigned kHardlyAny = 100'000;
      return std::make_unique<FakeMissingPages>(sink_.plain(), seen_, kHardlyAny);
    };
  }
  /// All connections break as soon as the guest runs at the sink.
  void break_off() {
    source_.run_ahead(200);
    std::vector<Channel*> channels;
    const auto connect = connect_;
    connect_ = [&]() -> Result<std::unique_ptr<Channel>> {
      auto channel = TRY(connect());
      const std::lock_guard lock(mutex_);
      channels.push_back(channel.get());
      return channel;
    };
    auto received = std::async(std::launch::async, [this] {
      auto parts = sink_parts(sink_);
      EXPECT_TRUE(sink_journal_->receiving());
      EXPECT_TRUE(sink_journal_->name_migration(kThisMove));
      return run_sink(std::move(parts));
    });
    {
      auto journal = begun_journal();
      auto parts = source_parts(source_, source_, journal, steady_);
      parts.id = kThisMove;
      parts.on_milestone = [&](Milestone milestone) {
        if (milestone != Milestone::kRunsEarly) return;
        for (Channel* channel : channels) channel->abort();
      };
      ASSERT_EQ(run_source(std::move(parts)).outcome, Outcome::kIncomplete);
    }
    ASSERT_EQ(received.get().outcome, Outcome::kIncomplete);
    connect_ = connect;
    ASSERT_TRUE(sink_.runs());
    ASSERT_LT(seen_.came, seen_.taken_away);
    sink_journal_.reset();
  }
  SinkReport receive_again(Duration patience = 20s) {
    auto parts = sink_parts(sink_);
    parts.patience = patience;
    EXPECT_EQ(sink_journal_->found(), Journal::State::kLacking);
    LackingGuest guest;
    guest.record = sink_journal_->missing().value();
    guest.open = [this, record = guest.record]() -> Result<LackingGuest::Memory> {
      return LackingGuest::Memory{std::make_unique<FakeMissingPages>(sink_.plain(), seen_, 3, true),
                                  record.words.empty() ? std::vector<PageWord>(seen_.missing.size()) : seen_.missing};
    };
    return resume_sink(std::move(parts), guest);
  }
  Report send_again(std::string id = std::string(kThisMove)) {
    auto journal = Journal::open(folder_, process_).value();
    auto parts = source_parts(source_, source_, journal, steady_);
    parts.id = std::move(id);
    parts.resumes = true;
    return run_source(std::move(parts));
  }
  Journal::State state_here() { return Journal::peek(folder_, process_).value(); }
};

TEST_F(BrokenOff, IsGoneOnWithUntilNothingIsMissing) {
  break_off();
  EXPECT_EQ(state_here(), Journal::State::kFollowing);
  auto received = std::async(std::launch::async, [this] { return receive_again(); });
  const Report report = send_again();
  const auto sink = received.get();
  ASSERT_EQ(report.outcome, Outcome::kDone) << report.error->message;
  ASSERT_EQ(sink.outcome, Outcome::kDone) << sink.error->message;
  EXPECT_EQ(seen_.came, seen_.taken_away);
  EXPECT_TRUE(seen_.ended);
  EXPECT_TRUE(same_memory());
  EXPECT_FALSE(source_.runs());
  EXPECT_EQ(state_here(), Journal::State::kCommitted);
}

/// A kernel that was told so counts on zeros (free-page-reporting, init_on_free): what lay there at the source must not
/// come back.
TEST_F(BrokenOff, BringsNoPageOnceMoreThatTheGuestHasGivenBack) {
  break_off();
  ChunkIndex chunk{0};
  while (chunk.value < seen_.missing.size() && (seen_.missing[chunk.value] & 1) == 0) ++chunk.value;
  ASSERT_LT(chunk.value, seen_.missing.size()) << "no page of those is missing that the guest touches next";
  Journal::open(folder_ + "/sink", process_).value().arrived().value().set(chunk, 1);
  auto received = std::async(std::launch::async, [this] { return receive_again(); });
  EXPECT_EQ(send_again().outcome, Outcome::kDone);
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  const std::span page(sink_.plain().at(chunk, 0), kPageSize);
  EXPECT_TRUE(std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; }));
}

/// Bytes of another guest would be put among those of this one.
TEST_F(BrokenOff, RefusesAnotherMoveAndWaitsForItsOwn) {
  break_off();
  auto received = std::async(std::launch::async, [this] { return receive_again(); });
  const Report wrong = send_again("def456");
  EXPECT_EQ(wrong.outcome, Outcome::kIncomplete);
  EXPECT_THAT(wrong.error->message, HasSubstr("abc123"));
  EXPECT_FALSE(seen_.ended);
  const Report report = send_again();
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error->message;
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  EXPECT_TRUE(same_memory());
}

TEST_F(BrokenOff, IsNotGoneOnWithAtASinkThatWaitsForANewGuest) {
  break_off();
  godwit::testing::FakeSinkVm other(some_ram());
  auto received = std::async(std::launch::async, [&] {
    auto parts = sink_parts(other);
    parts.patience = 2s;
    return run_sink(std::move(parts));
  });
  const Report report = send_again();
  EXPECT_EQ(report.outcome, Outcome::kIncomplete);
  EXPECT_THAT(report.error->message, HasSubstr("--resume"));
  listener_->abort();
  EXPECT_FALSE(other.runs());
  received.get();
}

/// It may not have been committed: then it is at the source alone.
TEST_F(BrokenOff, NeedsItsSourceAlthoughNothingIsMissingIfThatIsNotOnRecord) {
  break_off();
  const auto left = std::exchange(seen_.missing, std::vector<PageWord>(seen_.missing.size()));
  const auto alone = receive_again(100ms);
  EXPECT_EQ(alone.outcome, Outcome::kIncomplete);
  EXPECT_FALSE(seen_.ended);
  sink_journal_.reset();
  seen_.missing = left;
  auto received = std::async(std::launch::async, [this] { return receive_again(); });
  EXPECT_EQ(send_again().outcome, Outcome::kDone);
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  EXPECT_TRUE(same_memory());
}

/// An engine that was killed as its last deed was done.
TEST_F(BrokenOff, IsOverWhereAnEarlierEngineHadEndedIt) {
  break_off();
  auto parts = sink_parts(sink_);
  LackingGuest guest;
  guest.record = sink_journal_->missing().value();
  guest.has_all = true;
  guest.open = []() -> Result<LackingGuest::Memory> { return fail(ErrorKind::kRefused, "nobody waits any more"); };
  EXPECT_EQ(resume_sink(std::move(parts), guest).outcome, Outcome::kDone);
}

/// Its source may have been told so, and be gone.
TEST_F(BrokenOff, NeedsNoSourceWhereNothingIsMissingAnyMore) {
  break_off();
  {
    auto journal = Journal::open(folder_ + "/sink", process_).value();
    ASSERT_TRUE(journal.nothing_missing());
  }
  EXPECT_EQ(receive_again().outcome, Outcome::kDone);
  EXPECT_TRUE(seen_.ended);
}

}  // namespace
}  // namespace godwit::postcopy_test
