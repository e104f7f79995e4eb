// The source's process itself does not run (stopped by a signal, swapped out) while everything is prepared. The
// sink may have given up meanwhile, and its word lie unread in a socket: a commit then would lose the guest.
#include <poll.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/support/fake_migration.h"
#include "tests/support/manual_clock.h"
#include "tests/support/passing_channel.h"

namespace godwit::stood_still_test {
namespace {

using namespace std::chrono_literals;

/// Open: passes everything, once it was shut only slowly. Shut: whoever would read is blocked, and what comes waits
/// in the socket.
class Gate {
 public:
  void shut() { set(false); }
  void open() { set(true); }
  void pass() {
    {
      std::unique_lock lock(mutex_);
      holds_ = !open_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_; });
      if (!slow_) return;
    }
    std::this_thread::sleep_for(3ms);
  }
  /// Until something has come that it does not let pass.
  bool holds_something() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, [this] { return holds_; });
  }

 private:
  void set(bool open) {
    {
      const std::lock_guard lock(mutex_);
      open_ = open;
      slow_ = slow_ || !open;
    }
    changed_.notify_all();
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  bool slow_ = false;
  bool holds_ = false;
};

class GatedChannel final : public testing::PassingChannel {
 public:
  GatedChannel(std::unique_ptr<Channel> inner, Gate& gate) : PassingChannel(std::move(inner)), gate_(gate) {}
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override {
    auto got = inner().read(room, at_least, until);
    gate_.pass();
    return got;
  }

 private:
  Gate& gate_;
};

class StoodStill : public testing::FakeMigration {
 protected:
  void SetUp() override {
    FakeMigration::SetUp();
    heartbeat_ = 100ms;
    connect_ = [this]() -> Result<std::unique_ptr<Channel>> {
      auto channel = TRY(connect_to(listener_->address()));
      if (connections_++ > 0) return channel;
      socket_ = channel->link().descriptor();
      return std::make_unique<GatedChannel>(std::move(channel), gate_);  // the control connection
    };
  }
  void TearDown() override {
    gate_.open();
    FakeMigration::TearDown();
  }
  /// Moves the fake VM; at a milestone the source is stopped for a minute, in which `meanwhile` happens elsewhere.
  /// Its coordinator goes on first, its reader later and in small steps: the worst that a scheduler can do.
  template <typename Meanwhile>
  Report send_standing_still(Milestone at, Meanwhile meanwhile) {
    std::jthread opener;
    return send(clock_, [&](Milestone milestone) {
      if (milestone != at) return;
      gate_.shut();
      meanwhile();
      clock_.leap(60s);
      opener = std::jthread([this] {
        clock_.await_looks(2);  // one to see that time has passed, one to wait for a sign of life from then on
        gate_.open();
      });
    });
  }
  /// The sink's hypervisor ends. The sink sees it with the source's next heartbeat, says so, and ends too.
  void let_the_sink_end(std::future<SinkReport>& sink) {
    sink_.dead = true;
    EXPECT_EQ(sink.wait_for(20s), std::future_status::ready) << "the sink does not give up";
  }
  void expect_not_committed(const Report& report, std::future<SinkReport>& sink) {
    expect_source_runs_alone(report);
    EXPECT_EQ(source_.rolled_back, 1U);
    EXPECT_TRUE(sink_.gave_up);
    EXPECT_EQ(sink.get().outcome, Outcome::kSourceRuns);
  }

  testing::LeapingClock clock_;
  Gate gate_;
  int socket_ = -1;                       ///< of the control connection
  std::atomic<unsigned> connections_{0};  // lanes are opened all together
};

TEST_F(StoodStill, ASinkThatGaveUpMeanwhileIsNotCommitted) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send_standing_still(Milestone::kPrepared, [&] { let_the_sink_end(sink); });
  expect_not_committed(report, sink);
}

/// Heartbeats of a minute ago are read first: they tell nothing new.
TEST_F(StoodStill, OldHeartbeatsAreNoSignOfLife) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto wait_and_end = [&] {
    // Nothing else comes now: one for which the reader had waited before, and one that lies in the socket.
    EXPECT_TRUE(gate_.holds_something());
    pollfd next{.fd = socket_, .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&next, 1, 20'000), 1);
    let_the_sink_end(sink);
  };
  const auto report = send_standing_still(Milestone::kPrepared, wait_and_end);
  expect_not_committed(report, sink);
}

/// Prepared itself is old when it is read.
TEST_F(StoodStill, AnOldPreparedIsNoSignOfLife) {
  std::promise<void> prepared;
  auto sink = std::async(std::launch::async, [&] {
    return receive([&](Milestone milestone) {
      if (milestone == Milestone::kPrepared) prepared.set_value();
    });
  });
  const auto report = send_standing_still(Milestone::kDevicesSent, [&] {
    EXPECT_EQ(prepared.get_future().wait_for(20s), std::future_status::ready);
    let_the_sink_end(sink);
  });
  expect_not_committed(report, sink);
}

class StoodStillAt : public StoodStill, public ::testing::WithParamInterface<Milestone> {
 protected:
  void SetUp() override {
    StoodStill::SetUp();
    heartbeat_ = 500ms;  // what comes faster is taken for what lay in the socket
  }
};

TEST_P(StoodStillAt, ASinkThatStillWaitsIsCommitted) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send_standing_still(GetParam(), [] {});
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  EXPECT_FALSE(source_.runs());
  EXPECT_TRUE(sink_.runs());
}

INSTANTIATE_TEST_SUITE_P(At, StoodStillAt, ::testing::Values(Milestone::kDevicesSent, Milestone::kPrepared),
                         [](const auto& tested) {
                           std::string name(name_of(tested.param));
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace godwit::stood_still_test
