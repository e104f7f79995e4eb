// One listener serves two migrations at a time, each connection by the secret that it shows.
#include "engine/broker.h"

#include <gtest/gtest.h>

#include <array>
#include <future>
#include <mutex>
#include <thread>

#include "tests/support/fake_migration.h"
#include "tests/support/manual_clock.h"
#include "wire/control.h"

namespace godwit::broker_test {
namespace {

using namespace std::chrono_literals;
using testing::FakeSinkVm;
using testing::FakeSourceVm;
using testing::small_ram;

/// For what happens at once, on a slow machine.
constexpr Duration kPatience = 60s;

class BrokerTest : public testing::FakeMigration {
 protected:
  void SetUp() override {
    FakeMigration::SetUp();
    broker_.emplace(*listener_, clock_, 2, [this](std::string_view note) {
      const std::lock_guard lock(mutex_);
      notes_ += std::string(note) + "\n";
    });
  }
  void TearDown() override {
    broker_.reset();
    FakeMigration::TearDown();
  }
  static wire::Secret secret(int n) {
    wire::Secret made{};
    made[0] = std::byte(n);
    return made;
  }
  std::unique_ptr<Channel> source(int n) {
    auto channel = connect_to(listener_->address()).value();
    EXPECT_TRUE(wire::send_greeting(*channel, {.role = wire::Role::kControl, .secret = secret(n)}));
    wire::Hello hello{.fingerprint = sink_.fingerprint(), .lanes = 2, .program = "a test's source", .open_lanes = 2};
    EXPECT_TRUE(wire::ControlConnection(*channel).send(hello));
    return channel;
  }
  /// The source of session `first`, in another connection, with the secret `n`.
  std::unique_ptr<Channel> source_back(int n, int first, unsigned attempt) {
    auto channel = connect_to(listener_->address()).value();
    EXPECT_TRUE(wire::send_greeting(*channel, {.role = wire::Role::kControl, .secret = secret(n)}));
    wire::Hello hello{.fingerprint = sink_.fingerprint(),
                      .lanes = 2,
                      .program = "a test's source",
                      .rejoin = secret(first),
                      .attempt = attempt};
    EXPECT_TRUE(wire::ControlConnection(*channel).send(hello));
    return channel;
  }
  std::unique_ptr<Channel> lane(int n, unsigned number) {
    auto channel = connect_to(listener_->address()).value();
    EXPECT_TRUE(wire::send_greeting(
        *channel, {.role = wire::Role::kLane, .lane = static_cast<std::uint16_t>(number), .secret = secret(n)}));
    // Something to tell it by.
    EXPECT_TRUE(send_bytes(*channel, std::array{std::byte(10 * n + static_cast<int>(number))}));
    return channel;
  }
  static void expect_lanes(Broker::Place& place, int n) {
    const auto lanes = place.await_lanes(2, true);
    ASSERT_TRUE(lanes) << lanes.error().message;
    for (const auto& lane : *lanes) {
      std::array<std::byte, 1> mark;
      ASSERT_TRUE(receive_bytes(*lane.channel, mark, kPatience));
      EXPECT_EQ(mark[0], std::byte(10 * n + lane.number));
    }
  }
  static std::string refusal(Channel& channel) {
    const auto answer = wire::ControlConnection(channel, kPatience).receive();
    if (!answer) return answer.error().message;
    const auto* refused = std::get_if<wire::Refusal>(&*answer);
    return refused != nullptr ? refused->reason : "another message";
  }
  static bool is_closed(Channel& channel) {
    std::array<std::byte, 1> byte;
    const Status got = receive_bytes(channel, byte, kPatience);
    return !got && got.error().kind == ErrorKind::kPeerLost;
  }
  bool noted(const std::string& what) {
    for (const auto end = steady_.now() + kPatience; steady_.now() < end; std::this_thread::sleep_for(5ms)) {
      const std::lock_guard lock(mutex_);
      if (notes_.find(what) != std::string::npos) return true;
    }
    return false;
  }
  /// Of the place's broker: the sink's half of one migration.
  SinkParts parts_on(FakeSinkVm& vm, Journal& journal) {
    return {.listener = *listener_,
            .journal = journal,
            .fingerprint = vm.fingerprint(),
            .open_vm = [&vm](const Fingerprint&, DeviceWay) -> Result<SinkVm*> { return &vm; },
            .clock = clock_,
            .kernels = best_kernels({}),
            .decoders = decoders_,
            .on_milestone = [](Milestone) {},
            .on_note =
                [this](std::string_view note) {
                  const std::lock_guard lock(mutex_);
                  notes_ += std::string(note) + "\n";
                },
            .cancelled = stop_.get_token(),
            .program = "test"};
  }

  testing::ManualClock clock_;
  NoLateDecoders decoders_;
  std::stop_source stop_;
  std::mutex mutex_;
  std::string notes_;
  std::optional<Broker> broker_;
};

TEST_F(BrokerTest, BringsEachLaneToItsSource) {
  // Mixed, and some before their source.
  const auto first_lane = lane(1, 1);
  const auto second_lane = lane(2, 0);
  const auto one = source(1);
  auto place_one = broker_->await_source({});
  ASSERT_TRUE(place_one) << place_one.error().message;
  const auto two = source(2);
  auto place_two = broker_->await_source({});
  ASSERT_TRUE(place_two) << place_two.error().message;
  const auto third_lane = lane(2, 1);
  const auto fourth_lane = lane(1, 0);
  EXPECT_TRUE(place_one->source().secret == secret(1));
  EXPECT_TRUE(place_two->source().secret == secret(2));
  expect_lanes(*place_two, 2);
  expect_lanes(*place_one, 1);
}

TEST_F(BrokerTest, AThirdSourceWaitsUntilBothPlacesAreSettledAndIsRefusedByName) {
  const auto one = source(1);
  const auto two = source(2);
  auto place_one = broker_->await_source({});
  auto place_two = broker_->await_source({});
  ASSERT_TRUE(place_one && place_two);
  place_one->settle("unheard");
  const auto third = source(3);
  std::array<std::byte, 1> byte;
  EXPECT_EQ(receive_bytes(*third, byte, 200ms).error().kind, ErrorKind::kTimedOut) << "the second may still be lost";
  place_two->settle("unheard");
  EXPECT_EQ(refusal(*third), "2 other VMs are just being moved to this host, and there is room for no more");
  EXPECT_EQ(refusal(*source(4)), "2 other VMs are just being moved to this host, and there is room for no more");
}

TEST_F(BrokerTest, APlaceIsFreeWhenItsMigrationIsOver) {
  const auto one = source(1);
  const auto two = source(2);
  std::optional<Broker::Place> place_one(broker_->await_source({}).value());
  std::optional<Broker::Place> place_two(broker_->await_source({}).value());
  place_one->settle("unheard");
  place_two->settle("unheard");
  EXPECT_NE(refusal(*source(3)), "");
  place_one.reset();
  const auto fourth = source(4);
  auto place = broker_->await_source({});
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_TRUE(place->source().secret == secret(4));
  const auto lanes = std::array{lane(4, 0), lane(4, 1)};
  expect_lanes(*place, 4);
}

/// Neither a lane nor a second control connection gets into a session with a secret that it has guessed or overheard.
TEST_F(BrokerTest, ASessionThatIsSettledTakesNobodyMore) {
  const auto one = source(1);
  const auto lanes = std::array{lane(1, 0), lane(1, 1)};
  auto place = broker_->await_source({});
  ASSERT_TRUE(place) << place.error().message;
  expect_lanes(*place, 1);
  place->settle("unheard");
  EXPECT_TRUE(is_closed(*lane(1, 1)));
  EXPECT_EQ(refusal(*source(1)), "this session has a control connection already");
}

/// With new connections and a new secret; by the old one nobody gets in any more.
TEST_F(BrokerTest, ASourceThatShowsTheSessionsSecretMayComeBack) {
  const auto one = source(1);
  const auto two = source(2);
  const auto lanes = std::array{lane(1, 0), lane(1, 1), lane(2, 0), lane(2, 1)};
  auto place = broker_->await_source({});
  auto other = broker_->await_source({});
  ASSERT_TRUE(place && other);
  expect_lanes(*place, 1);
  expect_lanes(*other, 2);
  place->settle("unheard");
  other->settle("unheard");
  EXPECT_NE(refusal(*source_back(5, 1, 1)).find("no move waits here"), std::string::npos) << "it may not yet";
  std::atomic<unsigned> came_back{0};
  place->let_come_back([&] { ++came_back; });
  EXPECT_NE(refusal(*source_back(5, 9, 1)).find("no move waits here"), std::string::npos) << "a stranger";
  EXPECT_NE(refusal(*source_back(5, 2, 1)).find("no move waits here"), std::string::npos) << "another session's";
  EXPECT_EQ(came_back, 0U);

  const auto back = source_back(5, 1, 2);
  auto taken = place->await_back(kPatience);
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->hello.attempt, 2U);
  EXPECT_EQ(came_back, 1U);
  EXPECT_TRUE(is_closed(*lane(1, 1))) << "one of the old connection's";
  const auto new_lanes = std::array{lane(5, 0), lane(5, 1)};
  expect_lanes(*place, 5);
  EXPECT_NE(refusal(*source_back(6, 1, 2)).find("in another connection since"), std::string::npos) << "no later try";
  EXPECT_NE(refusal(*source_back(5, 1, 3)).find("in another connection since"), std::string::npos) << "no new secret";
  EXPECT_EQ(came_back, 1U);

  place->let_come_back_no_more();
  EXPECT_NE(refusal(*source_back(7, 1, 4)).find("no move waits here"), std::string::npos);
}

TEST_F(BrokerTest, OfTwoTriesToComeBackTheLaterCounts) {
  const auto one = source(1);
  const auto lanes = std::array{lane(1, 0), lane(1, 1)};
  auto place = broker_->await_source({});
  ASSERT_TRUE(place) << place.error().message;
  expect_lanes(*place, 1);
  place->settle("unheard");
  std::atomic<unsigned> came_back{0};
  place->let_come_back([&] { ++came_back; });
  const auto first = source_back(5, 1, 1);
  for (const auto end = steady_.now() + kPatience; came_back == 0 && steady_.now() < end;)
    std::this_thread::sleep_for(1ms);
  const auto second = source_back(6, 1, 2);
  EXPECT_NE(refusal(*first).find("in another connection since"), std::string::npos);
  auto taken = place->await_back(kPatience);
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_TRUE(taken->secret == secret(6));
  // One more, while its lanes are waited for: they will not come.
  const auto third = source_back(7, 1, 3);
  const auto none = place->await_lanes(2, true);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kPeerLost);
  EXPECT_TRUE(place->await_back(kPatience));
}

/// Also one that has come back already and waits for its answer, and once the place is free again; nobody else.
TEST_F(BrokerTest, ASourceThatComesBackTooLateIsToldWhy) {
  const auto one = source(1);
  const auto lanes = std::array{lane(1, 0), lane(1, 1)};
  std::atomic<unsigned> came_back{0};
  {
    auto place = broker_->await_source({});
    ASSERT_TRUE(place) << place.error().message;
    expect_lanes(*place, 1);
    place->settle("unheard");
    place->let_come_back([&] { ++came_back; });
    const auto waiting = source_back(5, 1, 1);
    for (const auto end = steady_.now() + kPatience; came_back == 0 && steady_.now() < end;)
      std::this_thread::sleep_for(1ms);
    place->leave_word("its disk has burnt", 30s);
    EXPECT_EQ(refusal(*waiting), "its disk has burnt");
  }
  broker_->await_word_told({});
  EXPECT_EQ(refusal(*source_back(6, 1, 2)), "its disk has burnt");
  EXPECT_NE(refusal(*source_back(7, 2, 1)).find("no move waits here"), std::string::npos) << "another session's";
  clock_.advance(31s);
  EXPECT_NE(refusal(*source_back(8, 1, 3)).find("no move waits here"), std::string::npos);
  EXPECT_EQ(came_back, 1U);
}

TEST_F(BrokerTest, AStrangersLanesHoldUpNobodyAndAreClosed) {
  const auto strange = lane(9, 0);
  const auto one = source(1);
  const auto two = source(2);
  auto place_one = broker_->await_source({});
  auto place_two = broker_->await_source({});
  ASSERT_TRUE(place_one && place_two);
  place_one->settle("unheard");
  place_two->settle("unheard");
  EXPECT_TRUE(is_closed(*strange));
  EXPECT_TRUE(noted("wrong session secret"));
}

/// Where many VMs are taken in at a time, strangers cannot use up this process's descriptors.
TEST_F(BrokerTest, StrangersLanesAreFewHoweverManyPlacesThereAre) {
  broker_.reset();
  broker_.emplace(*listener_, clock_, 16, [](std::string_view) {});
  std::vector<std::unique_ptr<Channel>> strange;
  for (int i = 0; i < 300; ++i) strange.push_back(lane(9, 0));
  // Those that came first have made room.
  for (std::size_t i = 0; i < 300 - 256; ++i) EXPECT_TRUE(is_closed(*strange[i])) << i;
  const auto one = source(1);
  const auto lanes = std::array{lane(1, 0), lane(1, 1)};
  auto place = broker_->await_source({});
  ASSERT_TRUE(place) << place.error().message;
  expect_lanes(*place, 1);
}

/// It does not wait for longer than that itself.
TEST_F(BrokerTest, ASourceThatHasWaitedForTooLongIsNotServed) {
  std::vector<std::unique_ptr<Channel>> sources;
  sources.push_back(source(1));
  sources.push_back(source(2));
  std::optional<Broker::Place> place_one(broker_->await_source({}).value());
  const Broker::Place place_two(broker_->await_source({}).value());
  const auto late = source(3);
  std::array<std::byte, 1> byte;
  EXPECT_EQ(receive_bytes(*late, byte, 200ms).error().kind, ErrorKind::kTimedOut);
  clock_.advance(10s);
  EXPECT_EQ(refusal(*late), "no place for this VM was free in time");
  place_one.reset();
  const auto fourth = source(4);
  auto place = broker_->await_source({});
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_TRUE(place->source().secret == secret(4));
}

/// Whole migrations of two VMs over one listener, in the midst of which the other one is, and a stranger.
TEST_F(BrokerTest, TwoMigrationsRunSideBySide) {
  FakeSourceVm other_source(small_ram(), 20);
  FakeSinkVm other_sink(small_ram());
  auto journal_one = Journal::open(folder_ + "/sink1", {1, 1}).value();
  auto journal_two = Journal::open(folder_ + "/sink2", {1, 1}).value();
  const auto parts_one = parts_on(sink_, journal_one);
  const auto parts_two = parts_on(other_sink, journal_two);
  auto received_one = std::async(std::launch::async, [&] { return run_sink(parts_one, *broker_); });
  auto received_two = std::async(std::launch::async, [&] { return run_sink(parts_two, *broker_); });
  goals_.lanes = 3;
  std::promise<void> one_copies, two_copies;
  const auto meet = [](std::promise<void>& mine, std::promise<void>& other) {
    return [&mine, there = other.get_future().share()](Milestone milestone) {
      if (milestone != Milestone::kCopying) return;
      mine.set_value();
      EXPECT_EQ(there.wait_for(kPatience), std::future_status::ready);
    };
  };
  const auto meet_one = meet(one_copies, two_copies);
  const auto meet_two = meet(two_copies, one_copies);
  const auto move = [&](FakeSourceVm& vm, const std::string& folder, OnMilestone on_milestone) {
    auto journal = Journal::open(folder_ + folder, {1, 1}).value();
    EXPECT_TRUE(journal.begin());
    auto parts = source_parts(vm, vm, journal, steady_);
    parts.on_milestone = std::move(on_milestone);
    return run_source(std::move(parts));
  };
  auto sent_two = std::async(std::launch::async, [&] { return move(other_source, "/two", meet_two); });
  const auto strange = lane(9, 0);
  const Report one = move(source_, "/one", meet_one);
  const Report two = sent_two.get();
  EXPECT_EQ(one.outcome, Outcome::kDone) << one.error.value_or(Error{}).message;
  EXPECT_EQ(two.outcome, Outcome::kDone) << two.error.value_or(Error{}).message;
  EXPECT_EQ(one.lanes, 3U);
  EXPECT_EQ(received_one.get().outcome, Outcome::kDone);
  EXPECT_EQ(received_two.get().outcome, Outcome::kDone);
  EXPECT_TRUE(sink_.runs());
  EXPECT_TRUE(other_sink.runs());
  EXPECT_TRUE(is_closed(*strange));
}

/// Both places are held by peers that fit and say nothing more.
TEST_F(BrokerTest, PlacesHeldBySilentPeersAreFreeAfterTheirDeadline) {
  FakeSinkVm other_sink(small_ram());
  auto journal_one = Journal::open(folder_ + "/sink1", {1, 1}).value();
  auto journal_two = Journal::open(folder_ + "/sink2", {1, 1}).value();
  const auto parts_one = parts_on(sink_, journal_one);
  const auto parts_two = parts_on(other_sink, journal_two);
  std::vector<std::future<SinkReport>> received;
  received.push_back(std::async(std::launch::async, [&] { return run_sink(parts_one, *broker_); }));
  received.push_back(std::async(std::launch::async, [&] { return run_sink(parts_two, *broker_); }));
  std::vector<std::unique_ptr<Channel>> silent;
  for (const int n : {1, 2}) {
    silent.push_back(source(n));
    for (const unsigned number : {0U, 1U}) silent.push_back(lane(n, number));
  }
  for (const std::size_t control : {std::size_t{0}, std::size_t{3}}) {
    const auto answer = wire::ControlConnection(*silent[control], kPatience).receive();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_TRUE(std::holds_alternative<wire::Welcome>(*answer));
  }
  const auto both_wait_again = [this] {
    const std::lock_guard lock(mutex_);
    const std::string again = "waiting for a source again";
    const auto first = notes_.find(again);
    return first != std::string::npos && notes_.find(again, first + 1) != std::string::npos;
  };
  for (const auto end = steady_.now() + kPatience; !both_wait_again() && steady_.now() < end;) {
    std::this_thread::sleep_for(20ms);
    if (clock_.now() < Instant(60s)) clock_.advance(500ms);  // a data map would have 120
  }
  EXPECT_TRUE(both_wait_again());
  const Report report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_TRUE(sink_.runs() != other_sink.runs());
  stop_.request_stop();
  for (auto& one : received) one.get();
}

}  // namespace
}  // namespace godwit::broker_test
