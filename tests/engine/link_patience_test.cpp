// The link is lost while memory is copied, and comes back: the move goes on, and what arrives is what was there.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>

#include "net/channel.h"
#include "net/connect.h"
#include "tests/support/cutting_relay.h"
#include "tests/support/fake_migration.h"
#include "tests/support/fake_missing_pages.h"
#include "tests/support/manual_clock.h"
#include "wire/control.h"

namespace godwit::link_patience_test {
namespace {

using namespace std::chrono_literals;
using testing::CuttingRelay;
using testing::FakeSinkVm;
using testing::FakeSourceVm;

RamLayout some_ram() {
  return RamLayout::make(
             {{.name = "ram0", .size = 5 * kChunkSize + 7 * kPageSize}, {.name = "ram1", .size = 27 * kChunkSize}})
      .value();
}

/// Looks that take longer than any pause may.
class SlowLooks final : public DirtyTracker {
 public:
  explicit SlowLooks(DirtyTracker& inner) : inner_(inner) {}
  Status start(std::uint32_t chunks) override { return inner_.start(chunks); }
  Result<HarvestStats> harvest(Board& board) override { return slow(inner_.harvest(board)); }
  Result<HarvestStats> harvest_near_stop(Board& board, const std::function<bool()>& stopping) override {
    return slow(inner_.harvest_near_stop(board, stopping));
  }
  Result<HarvestStats> harvest_last(Board& board) override { return inner_.harvest_last(board); }
  Result<std::uint64_t> settle(Board& board) override { return inner_.settle(board); }
  Status find_absent(AbsentPages& pages) override { return inner_.find_absent(pages); }
  Status stop() override { return inner_.stop(); }

 private:
  static Result<HarvestStats> slow(Result<HarvestStats> stats) {
    if (stats) stats->took = 50ms;
    return stats;
  }
  DirtyTracker& inner_;
};

/// A move of a guest that writes too much for its pause, so that it is copied until it is told to switch over.
class LinkPatience : public testing::FakeMigration {
 protected:
  LinkPatience() : FakeMigration(some_ram()) {}
  void SetUp() override {
    FakeMigration::SetUp();
    relay_.emplace(listener_->address());
    connect_ = [this] { return connect_to(relay_->address()); };
    goals_.link_patience = 30s;
    goals_.max_downtime = 0ms;  // as long as it runs its pause would be too long
    on_progress_ = [this](const Progress& progress) { see(progress); };
  }
  void TearDown() override {
    order_.reset();
    relay_.reset();
    FakeMigration::TearDown();
  }

  void start() {
    order_.emplace(goals_);
    received_ = std::async(std::launch::async, [this] {
      auto parts = sink_parts(sink_);
      parts.cancelled = sink_cancel_.get_token();
      parts.on_note = [this](std::string_view note) { take_note("sink: ", note); };
      if (sink_clock_ != nullptr) return run_sink(with_clock(parts, *sink_clock_));
      return run_sink(std::move(parts));
    });
    sent_ = std::async(std::launch::async, [this] {
      auto journal = begun_journal();
      auto parts = source_parts(source_, *tracker_, journal, steady_);
      parts.steering = &*order_;
      parts.cancelled = cancel_.get_token();
      parts.reconnect = reconnect_;
      parts.on_note = [this](std::string_view note) { take_note("source: ", note); };
      parts.on_milestone = [this](Milestone milestone) {
        if (milestone == Milestone::kCopying) copying_ = true;
        if (on_milestone_) on_milestone_(milestone);
      };
      return run_source(std::move(parts));
    });
    await([&] { return copying_.load(); });
  }
  static SinkParts with_clock(const SinkParts& parts, const Clock& clock) {
    return {.listener = parts.listener,
            .journal = parts.journal,
            .fingerprint = parts.fingerprint,
            .open_vm = parts.open_vm,
            .clock = clock,
            .kernels = parts.kernels,
            .decoders = parts.decoders,
            .on_milestone = parts.on_milestone,
            .on_note = parts.on_note,
            .cancelled = parts.cancelled,
            .program = parts.program};
  }
  template <typename Ready>
  void await(Ready ready) {
    for (const auto until = steady_.now() + 40s; !ready();) {
      ASSERT_LT(steady_.now(), until) << "waited too long; " << notes();
      ASSERT_TRUE(!sent_.valid() || sent_.wait_for(2ms) != std::future_status::ready) << "it has ended; " << notes();
    }
  }
  unsigned count(const std::string& what) {
    const std::string all = notes();
    unsigned found = 0;
    for (auto at = all.find(what); at != std::string::npos; at = all.find(what, at + 1)) ++found;
    return found;
  }
  /// Once link_up_ is false.
  void let_link_be_back_at_the_end() {
    connect_ = [this]() -> Result<std::unique_ptr<Channel>> {
      if (!link_up_) return fail(ErrorKind::kPeerLost, "the link is down");
      return connect_to(relay_->address());
    };
    on_progress_ = [this](const Progress& progress) {
      see(progress);
      if (progress.phase == Phase::kRollingBack) link_up_ = true;
    };
  }
  void await_back(unsigned times) {
    await([&] { return count("source: the link is back") >= times; });
  }
  void await_sink_waits() {
    for (const auto until = steady_.now() + 40s; count("sink: the link to the source is lost") == 0;) {
      ASSERT_LT(steady_.now(), until) << notes();
      std::this_thread::sleep_for(2ms);
    }
  }
  /// Of the source, which has seen no end yet.
  Report end() {
    EXPECT_TRUE(order_->order(Order::kSwitchOver));
    return sent_.get();
  }
  void expect_moved(const Report& report, unsigned outages) {
    ASSERT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message << "\n" << notes();
    EXPECT_EQ(received_.get().outcome, Outcome::kDone);
    EXPECT_FALSE(source_.runs());
    EXPECT_TRUE(sink_.runs());
    EXPECT_EQ(report.outages, outages) << notes();
    source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
    EXPECT_FALSE(ran_backwards_);
  }
  void take_note(const char* who, std::string_view note) {
    if (on_back_ && note.starts_with("the link is back")) on_back_();
    const std::lock_guard lock(mutex_);
    notes_ += who + std::string(note) + "\n";
  }
  std::string notes() {
    const std::lock_guard lock(mutex_);
    return notes_;
  }
  std::uint64_t left() {
    const std::lock_guard lock(mutex_);
    return left_;
  }
  bool is_waiting() {
    const std::lock_guard lock(mutex_);
    return waiting_.find(" of 30 s") != std::string::npos;
  }
  void see(const Progress& progress) {
    const std::lock_guard lock(mutex_);
    if (progress.fraction < fraction_ || progress.bytes_sent < bytes_ || progress.pages_sent < pages_)
      ran_backwards_ = true;
    fraction_ = progress.fraction;
    bytes_ = progress.bytes_sent;
    pages_ = progress.pages_sent;
    if (progress.phase == Phase::kCopying) left_ = progress.pages_left;
    if (progress.trouble.find("waiting for the link") != std::string::npos) waiting_ = progress.trouble;
  }

  DirtyTracker* tracker_ = &source_;
  std::optional<CuttingRelay> relay_;
  std::optional<Steering> order_;
  std::stop_source cancel_, sink_cancel_;
  const Clock* sink_clock_ = nullptr;
  std::function<void(Milestone)> on_milestone_;
  std::function<void()> on_back_;  ///< on the coordinator's thread
  std::atomic<bool> link_up_{true};
  Reconnect reconnect_;
  std::future<SinkReport> received_;
  std::future<Report> sent_;
  std::atomic<bool> copying_{false};
  std::mutex mutex_;
  std::string notes_;
  std::string waiting_;
  double fraction_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t pages_ = 0;
  std::uint64_t left_ = ~std::uint64_t{0};
  bool ran_backwards_ = false;
};

TEST_F(LinkPatience, AMoveGoesOnAfterACut) {
  goals_.lanes = 1;
  on_milestone_ = [this](Milestone milestone) {
    if (milestone == Milestone::kCopying) relay_->cut();
  };
  start();
  await_back(1);
  expect_moved(end(), 1);
}

TEST_F(LinkPatience, SeveralLanesGoOnAfterManyCuts) {
  goals_.lanes = 3;
  start();
  for (unsigned cut = 1; cut <= 5; ++cut) {
    relay_->cut();
    await_back(cut);
  }
  expect_moved(end(), 5);
}

TEST_F(LinkPatience, AHarvestMayBeCutShort) {
  SlowLooks slow(source_);  // it does not end by itself
  tracker_ = &slow;
  std::atomic<unsigned> harvests{0};
  source_.on_call = [&](std::string_view what) {
    if (what == "harvest" && ++harvests % 3 == 1 && harvests < 10) relay_->cut();
  };
  start();
  await([&] { return harvests >= 12; });
  expect_moved(end(), count("source: the link is back"));
  EXPECT_GE(count("source: the link is back"), 3U);
}

/// Also where a fence that tells how far the sink is, in the middle of a sweep, is on its way.
TEST_F(LinkPatience, AnyMomentOfALongMoveMayBeCut) {
  goals_.lanes = 2;
  start();
  std::mt19937 random(7);
  for (unsigned cut = 1; cut <= 10; ++cut) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 700));
    relay_->cut();
    await_back(cut);
  }
  expect_moved(end(), 10);
}

TEST_F(LinkPatience, WhatTheSinkHasConfirmedIsNotSentAgain) {
  source_.rests = true;
  SlowLooks slow(source_);
  tracker_ = &slow;
  start();
  await([&] { return left() == 0; });
  std::this_thread::sleep_for(4s);  // for a fence, also where a CPU is hardly to be had
  relay_->cut();
  await_back(1);
  const auto report = end();
  EXPECT_EQ(report.pages_resent, 0U);
  EXPECT_GT(report.pages_data, 0U);
  expect_moved(report, 1);
}

/// In the middle of a header, of a page, of a control message.
TEST_F(LinkPatience, AnyByteMayBeTheLast) {
  goals_.lanes = 2;
  start();
  unsigned cuts = 0;
  for (const unsigned bytes : {0U, 1U, 7U, 63U, 64U, 65U, 333U, 4096U, 5000U, 20'000U, 70'001U, 200'003U, 500'009U}) {
    relay_->cut_after(bytes);
    await([&] { return relay_->has_cut(); });
    await_back(++cuts);
  }
  expect_moved(end(), cuts);
}

/// While it comes back: in its greeting, its Hello, its lanes' greetings, the first frames.
TEST_F(LinkPatience, TheLinkMayBreakAgainBeforeItIsBack) {
  goals_.lanes = 2;
  start();
  unsigned cuts = 0;
  for (const unsigned bytes : {0U, 20U, 48U, 60U, 300U, 600U, 900U, 1000U, 1100U, 3000U, 9000U}) {
    const unsigned before = count("source: the link is back");
    relay_->cut();
    relay_->cut_after(bytes);
    await([&] { return relay_->has_cut(); });
    await_back(before + 1);
    ++cuts;
  }
  // The last break may have come after it was back.
  std::this_thread::sleep_for(500ms);
  await([&] { return count("source: the link is back") == count("source: the link to the destination is lost"); });
  expect_moved(end(), count("source: the link is back"));
  EXPECT_GE(count("source: the link is back"), cuts);
}

/// The sink has not missed anything yet when the source comes back, and what it was sent before comes after that.
TEST_F(LinkPatience, WhatComesLateOnAnOldConnectionIsNotApplied) {
  start();
  for (unsigned cut = 1; cut <= 3; ++cut) {
    relay_->hold(true);
    std::this_thread::sleep_for(50ms);
    relay_->cut_and_keep();
    relay_->hold(false);
    await_back(cut);
    relay_->release();
    std::this_thread::sleep_for(50ms);
  }
  expect_moved(end(), 3);
}

TEST_F(LinkPatience, ALinkThatDoesNotComeBackEndsTheMoveOnBothSides) {
  testing::LeapingClock clock;
  sink_clock_ = &clock;
  goals_.link_patience = 1s;
  start();
  relay_->let_through(false);
  relay_->cut();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kPeerLost);
  EXPECT_NE(report.error->message.find("the link has not come back within 1 s"), std::string::npos)
      << report.error->message;
  EXPECT_EQ(report.outages, 1U);
  await_sink_waits();
  clock.leap(30s);
  const auto received = received_.get();
  EXPECT_EQ(received.outcome, Outcome::kSourceRuns);
  EXPECT_TRUE(received.changed);
  EXPECT_EQ(received.error->kind, ErrorKind::kPeerLost);
  EXPECT_NE(received.error->message.find("the source has not come back within"), std::string::npos)
      << received.error->message;
}

TEST_F(LinkPatience, ALinkThatComesBackAndCarriesNothingEndsTheMove) {
  goals_.link_patience = 1s;
  on_milestone_ = [this](Milestone milestone) {
    if (milestone == Milestone::kCopying) relay_->cut();
  };
  on_back_ = [this] { relay_->cut(); };
  start();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("nothing has got through"), std::string::npos) << report.error->message;
  EXPECT_GT(report.outages, 1U);
  sink_cancel_.request_stop();
}

TEST_F(LinkPatience, TheOperatorMayCancelWhileTheLinkIsLost) {
  start();
  relay_->let_through(false);
  relay_->cut();
  await([&] { return is_waiting(); });
  cancel_.request_stop();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kCancelled) << report.error->message;
  await_sink_waits();
  sink_cancel_.request_stop();
  EXPECT_EQ(received_.get().error->kind, ErrorKind::kCancelled);
}

/// It can be reached again as soon as nobody tries any more to go on; the sink would wait for longer than the test.
TEST_F(LinkPatience, ASourceThatHasWaitedLongEnoughTellsTheSink) {
  goals_.link_patience = 1s;
  let_link_be_back_at_the_end();
  start();
  link_up_ = false;
  relay_->cut();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kPeerLost);
  const auto received = received_.get();
  EXPECT_EQ(received.outcome, Outcome::kSourceRuns);
  ASSERT_TRUE(received.error);
  EXPECT_NE(received.error->message.find("the source gave up: "), std::string::npos) << received.error->message;
}

TEST_F(LinkPatience, ASourceThatIsCancelledMeanwhileTellsTheSink) {
  let_link_be_back_at_the_end();
  start();
  link_up_ = false;
  relay_->cut();
  await([&] { return is_waiting(); });
  cancel_.request_stop();
  expect_source_runs_alone(sent_.get());
  const auto received = received_.get();
  ASSERT_TRUE(received.error);
  EXPECT_NE(received.error->message.find("the source gave up: cancelled"), std::string::npos)
      << received.error->message;
}

TEST_F(LinkPatience, ThatTheGuestHasEndedMeanwhileIsKnownAtTheSinkToo) {
  let_link_be_back_at_the_end();
  start();
  link_up_ = false;
  relay_->cut();
  await([&] { return count("source: the link to the destination is lost") == 1; });
  source_.halt_by_others({Halt::Kind::kEnded, "the guest has shut down"});
  EXPECT_EQ(sent_.get().outcome, Outcome::kGuestEnded);
  EXPECT_EQ(received_.get().outcome, Outcome::kGuestEnded);
}

TEST_F(LinkPatience, WhyASinkGaveUpMeanwhileIsToldWhenTheSourceComesBack) {
  start();
  relay_->let_through(false);
  relay_->cut();
  await_sink_waits();
  sink_.dead = true;
  await([&] { return count("sink: given up here") == 1; });
  relay_->let_through(true);
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_TRUE(report.error->at_peer);
  EXPECT_NE(report.error->message.find("the fake hypervisor has ended"), std::string::npos) << report.error->message;
  EXPECT_EQ(received_.get().error->kind, ErrorKind::kHypervisor);
}

TEST_F(LinkPatience, ASinkWhoseSourceHasHeardWhyDoesNotWaitForIt) {
  start();
  sink_.dead = true;
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("the fake hypervisor has ended"), std::string::npos) << report.error->message;
  EXPECT_EQ(received_.get().error->kind, ErrorKind::kHypervisor);
  EXPECT_EQ(count("sink: given up here"), 0U) << notes();
}

/// A name may be of several hosts: the move is over only where the one that has the memory says so.
TEST_F(LinkPatience, AnotherHostOfTheSameNameDoesNotEndTheMove) {
  const auto other = listen_on(Address{.kind = Address::Kind::kTcp, .host = "127.0.0.1", .port = 0, .path = {}});
  ASSERT_TRUE(other) << other.error().message;
  std::atomic<unsigned> refused{0};
  const std::jthread stranger([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto channel = (*other)->accept(50ms);
      if (!channel) continue;
      wire::ControlConnection control(**channel, 5s);
      if (control.send(wire::Refusal{"no move waits here"})) ++refused;
      while (control.receive()) {
      }
    }
  });
  reconnect_ = [&](Whereto where, const std::stop_token&) -> Result<std::unique_ptr<Channel>> {
    if (where == Whereto::kAnyAddress) return connect_to((*other)->address());
    if (where == Whereto::kAsAtFirst && refused < 2) return fail(ErrorKind::kPeerLost, "it does not answer now");
    return connect_to(relay_->address());
  };
  start();
  relay_->cut();
  await_back(1);
  EXPECT_GE(refused, 2U);
  expect_moved(end(), 1);
}

TEST_F(LinkPatience, WhoCancelsDoesNotWaitForAConnectionThatIsBeingOpened) {
  std::atomic<unsigned> begun{0};
  reconnect_ = [&](Whereto, const std::stop_token& stop) -> Result<std::unique_ptr<Channel>> {
    ++begun;
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    stopped.wait(lock, stop, [] { return false; });  // for as long as nobody stops it
    return fail(ErrorKind::kCancelled, "stopped");
  };
  start();
  relay_->cut();
  await([&] { return begun == 1; });
  cancel_.request_stop();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kCancelled) << report.error->message;
  EXPECT_EQ(begun, 2U) << "the goodbye, which ends by itself";
  sink_cancel_.request_stop();
}

TEST_F(LinkPatience, ASinkThatHasGivenUpDoesNotTakeItsSourceBack) {
  start();
  relay_->let_through(false);
  relay_->cut();
  await_sink_waits();
  sink_cancel_.request_stop();
  EXPECT_EQ(received_.get().error->kind, ErrorKind::kCancelled);
  // Another sink waits there for a VM now.
  FakeSinkVm another(some_ram());
  std::stop_source stop;
  auto waiting = std::async(std::launch::async, [&] {
    auto parts = sink_parts(another);
    parts.cancelled = stop.get_token();
    return run_sink(std::move(parts));
  });
  relay_->let_through(true);
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kRefused);
  EXPECT_NE(report.error->message.find("does not take this side back"), std::string::npos) << report.error->message;
  stop.request_stop();
  const auto untouched = waiting.get();
  EXPECT_FALSE(untouched.changed);
}

TEST_F(LinkPatience, WhyASinkGaveUpIsNotTakenForALostLink) {
  start();
  sink_cancel_.request_stop();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_TRUE(report.error->at_peer) << report.error->message;
  EXPECT_EQ(report.outages, 0U);
  EXPECT_EQ(received_.get().error->kind, ErrorKind::kCancelled);
}

TEST_F(LinkPatience, WhyASourceGaveUpIsNotTakenForALostLink) {
  start();
  cancel_.request_stop();
  EXPECT_EQ(sent_.get().error->kind, ErrorKind::kCancelled);
  const auto received = received_.get();
  EXPECT_NE(received.error->message.find("the source gave up"), std::string::npos) << received.error->message;
}

TEST_F(LinkPatience, TheTimeoutGoesOnCounting) {
  goals_.timeout = 2s;
  start();
  relay_->let_through(false);
  relay_->cut();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kTimedOut) << report.error->message;
  sink_cancel_.request_stop();
}

TEST_F(LinkPatience, AGuestThatEndsMeanwhileIsNotMoved) {
  start();
  relay_->let_through(false);
  relay_->cut();
  await([&] { return count("source: the link to the destination is lost") == 1; });
  source_.halt_by_others({Halt::Kind::kEnded, "the guest has shut down"});
  EXPECT_EQ(sent_.get().outcome, Outcome::kGuestEnded);
  sink_cancel_.request_stop();
}

TEST_F(LinkPatience, AnOrderThatComesMeanwhileIsCarriedOutOnceTheLinkIsBack) {
  start();
  relay_->let_through(false);
  relay_->cut();
  await([&] { return count("source: the link to the destination is lost") == 1; });
  EXPECT_TRUE(order_->order(Order::kSwitchOver));
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(source_.runs());
  relay_->let_through(true);
  expect_moved(sent_.get(), 1);
}

TEST_F(LinkPatience, AMoveMayEndByPostcopyAfterAnOutage) {
  testing::MissingPagesSeen seen;
  sink_.on_missing_pages = [&]() -> Result<std::unique_ptr<MissingPages>> {
    return std::make_unique<testing::FakeMissingPages>(sink_.plain(), seen, 7);
  };
  goals_.may_be_ordered = true;
  start();
  for (unsigned cut = 1; cut <= 2; ++cut) {
    relay_->cut();
    await_back(cut);
  }
  EXPECT_TRUE(order_->order(Order::kPostcopy));
  const auto report = sent_.get();
  EXPECT_TRUE(report.postcopy);
  expect_moved(report, 2);
}

TEST_F(LinkPatience, NothingIsBorneOnceTheGuestIsToBePaused) {
  on_milestone_ = [this](Milestone milestone) {
    if (milestone == Milestone::kHandingOver) relay_->cut();
  };
  start();
  const auto report = end();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.outages, 0U) << notes();
  sink_cancel_.request_stop();
  EXPECT_NE(received_.get().outcome, Outcome::kDone);
}

TEST_F(LinkPatience, WithoutPatienceALostLinkEndsTheMove) {
  goals_.link_patience = {};
  start();
  relay_->cut();
  const auto report = sent_.get();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.outages, 0U);
  EXPECT_EQ(received_.get().outcome, Outcome::kSourceRuns);
}

}  // namespace
}  // namespace godwit::link_patience_test
