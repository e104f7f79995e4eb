// Somebody else pauses the guest while its memory is copied: the move comes to its end at once, and it arrives paused.
#include <algorithm>

#include "tests/support/fake_migration.h"
#include "tests/support/manual_clock.h"
#include "tests/support/passing_channel.h"

namespace godwit::paused_on_the_way_test {
namespace {

using namespace std::chrono_literals;
using testing::FakeMigration;

/// Hears of a destination that does not know StayPaused.
class FromAnOldSink final : public testing::PassingChannel {
 public:
  using PassingChannel::PassingChannel;
  Result<std::size_t> read(MutableBytes room, std::size_t, const Deadline& until) override {
    const std::size_t got = TRY(inner().read(room, room.size(), until));
    const Bytes known = bytes_of("stay_paused");
    const auto found = std::search(room.begin(), room.end(), known.begin(), known.end());
    if (found != room.end()) *found = std::byte{'S'};
    return got;
  }
};

class PausedOnTheWay : public FakeMigration {
 protected:
  void pause() { source_.halt_by_others({Halt::Kind::kPaused, "somebody has paused the guest"}); }

  void expect_arrived_paused(const Report& report, const SinkReport& there) {
    EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
    EXPECT_TRUE(report.paused);
    EXPECT_EQ(report.pause.count(), 0);
    EXPECT_EQ(there.outcome, Outcome::kDone);
    EXPECT_TRUE(there.paused);
    EXPECT_FALSE(source_.runs());
    EXPECT_FALSE(sink_.runs());
    EXPECT_TRUE(sink_.stayed_paused);
    EXPECT_FALSE(sink_.announced);
    source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
  }
};

TEST_F(PausedOnTheWay, ArrivesPausedAtOnce) {
  goals_.max_downtime = 0ms;  // as long as it runs its pause would be too long
  for (const Milestone milestone : {Milestone::kTracking, Milestone::kMapped, Milestone::kCopying}) {
    SCOPED_TRACE(name_of(milestone));
    testing::FakeSourceVm source(testing::small_ram(), 20);
    testing::FakeSinkVm sink(testing::small_ram());
    source.can_move_as_paused = true;
    auto received = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
    auto journal = begun_journal();
    auto parts = source_parts(source, source, journal, steady_);
    unsigned lifted = 0;
    std::string notes, record;
    parts.lift_rate_limit = [&] { ++lifted; };
    parts.on_note = [&](std::string_view note) { notes += note; };
    parts.on_milestone = [&](Milestone reached) {
      if (reached == milestone) source.halt_by_others({Halt::Kind::kPaused, "somebody has paused the guest"});
      if (reached == Milestone::kHandingOver) {
        EXPECT_GT(lifted, 0U) << "it has waited for a budget";
      }
      if (reached == Milestone::kStopped) record = journal_record();
    };
    const auto report = run_source(std::move(parts));
    EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
    EXPECT_TRUE(report.paused);
    EXPECT_EQ(report.pause.count(), 0);
    EXPECT_TRUE(received.get().paused);
    EXPECT_FALSE(source.runs());
    EXPECT_FALSE(sink.runs());
    EXPECT_TRUE(sink.stayed_paused);
    EXPECT_EQ(record, "migrating") << "an engine that comes after would let it run";
    EXPECT_NE(notes.find("arrives paused"), std::string::npos) << notes;
    source.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink.plain().bytes()); });
    journal.clear();
  }
}

/// The hypervisor finds it paused when it is to stop it.
TEST_F(PausedOnTheWay, OrIsFoundSoInTheHandOver) {
  auto received = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_, [&](Milestone milestone) {
    if (milestone == Milestone::kStopped) source_.paused_since = true;
  });
  expect_arrived_paused(report, received.get());
}

/// The hypervisor takes long for what it does before its own stop, and no disk is what it waits for.
TEST_F(PausedOnTheWay, OrWhileTheHypervisorIsStillAtWorkForTheHandOver) {
  testing::LeapingClock clock;
  source_.before_stop = [&](HandoverObserver& observer) {
    const Instant at = clock.now();
    observer.guest_stopping(at);
    std::this_thread::sleep_for(50ms);
    observer.guest_stopped_by_others(at);
    clock.leap(10s);
    std::this_thread::sleep_for(500ms);  // for whoever has waited for longer than disks are waited for
    source_.paused_since = true;
  };
  auto received = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(clock);
  expect_arrived_paused(report, received.get());
}

/// Nothing of it is left at the destination, and nobody lets it run.
TEST_F(PausedOnTheWay, StaysWhereItIsIfTheMoveFails) {
  source_.can_move_as_paused = true;
  sink_.fail_load = true;
  auto received = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_, [&](Milestone milestone) {
    if (milestone == Milestone::kCopying) pause();
  });
  EXPECT_NE(report.outcome, Outcome::kDone);
  EXPECT_FALSE(source_.runs());
  EXPECT_FALSE(sink_.runs());
  EXPECT_NE(received.get().outcome, Outcome::kDone);
}

/// One that would let it run: nothing is committed, whenever the guest is found paused.
TEST_F(PausedOnTheWay, EndsTheMoveWhereTheDestinationIsTooOldToKeepItSo) {
  connect_ = [this]() -> Result<std::unique_ptr<Channel>> {
    return std::make_unique<FromAnOldSink>(TRY(connect_to(listener_->address())));
  };
  for (const Milestone milestone : {Milestone::kCopying, Milestone::kStopped}) {
    SCOPED_TRACE(name_of(milestone));
    testing::FakeSourceVm source(testing::small_ram(), 20);
    testing::FakeSinkVm sink(testing::small_ram());
    source.can_move_as_paused = true;
    auto received = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
    auto journal = begun_journal();
    auto parts = source_parts(source, source, journal, steady_);
    parts.on_milestone = [&](Milestone reached) {
      if (reached != milestone) return;
      if (reached == Milestone::kStopped) source.paused_since = true;
      if (reached == Milestone::kCopying) source.halt_by_others({Halt::Kind::kPaused, "somebody has paused the guest"});
    };
    const auto report = run_source(std::move(parts));
    EXPECT_NE(report.outcome, Outcome::kDone);
    ASSERT_TRUE(report.error);
    EXPECT_NE(report.error->message.find("somebody has paused the guest"), std::string::npos) << report.error->message;
    EXPECT_NE(received.get().outcome, Outcome::kDone);
    EXPECT_FALSE(source.runs());
    EXPECT_FALSE(sink.runs());
    EXPECT_FALSE(sink.stayed_paused);
    journal.clear();
  }
}

TEST_F(PausedOnTheWay, EndsTheMoveWhereTheHypervisorCannotMoveItSo) {
  auto received = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_, [&](Milestone milestone) {
    if (milestone == Milestone::kCopying) pause();
  });
  EXPECT_EQ(report.outcome, Outcome::kGuestPaused);
  EXPECT_EQ(received.get().outcome, Outcome::kGuestPaused);
  EXPECT_FALSE(sink_.stayed_paused);
}

}  // namespace
}  // namespace godwit::paused_on_the_way_test
