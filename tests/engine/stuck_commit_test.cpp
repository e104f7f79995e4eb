// A destination that says that it is prepared and then takes nothing any more, nor goes: the commit has a deadline.
#include <cstring>
#include <future>
#include <thread>

#include "tests/support/fake_migration.h"
#include "tests/support/passing_channel.h"

namespace godwit::stuck_commit_test {
namespace {

using namespace std::chrono_literals;

/// As time goes by, and may leap.
class LeapingClock final : public Clock {
 public:
  Instant now() const noexcept override { return SteadyClock().now() + Duration(leapt_.load()); }
  void leap(Duration by) noexcept { leapt_ += by.count(); }

 private:
  std::atomic<Duration::rep> leapt_{0};
};

/// From the commit on nothing is taken: time leaps to where whoever waits should give up.
class StuckAtCommit final : public testing::PassingChannel {
 public:
  StuckAtCommit(std::unique_ptr<Channel> inner, LeapingClock& clock, std::atomic<bool>& gave_up)
      : PassingChannel(std::move(inner)), clock_(clock), gave_up_(gave_up) {}
  Status write(std::span<const iovec> parts, const Deadline& until) override {
    constexpr std::byte kCommit{0x07};
    const bool commit = parts[0].iov_len == 8 && *static_cast<const std::byte*>(parts[0].iov_base) == kCommit;
    if (!commit) return inner().write(parts, until);
    EXPECT_FALSE(until.over()) << "it has some time";
    clock_.leap(10s);
    for (const auto end = SteadyClock().now() + 20s; SteadyClock().now() < end; std::this_thread::sleep_for(5ms)) {
      if (!until.over()) continue;
      gave_up_ = true;
      return fail(ErrorKind::kTimedOut, "it did not take all");
    }
    return fail(ErrorKind::kPeerLost, "the test has waited long enough");
  }

 private:
  LeapingClock& clock_;
  std::atomic<bool>& gave_up_;
};

using StuckCommit = testing::FakeMigration;

TEST_F(StuckCommit, EndsInDoubtAndNotNever) {
  LeapingClock clock;
  std::atomic<bool> gave_up = false;
  std::atomic<bool> control = true;
  connect_ = [&]() -> Result<std::unique_ptr<Channel>> {
    auto channel = TRY(connect_to(listener_->address()));
    if (!control.exchange(false)) return channel;
    return std::make_unique<StuckAtCommit>(std::move(channel), clock, gave_up);
  };
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const Report report = send(clock);
  EXPECT_TRUE(gave_up);
  EXPECT_EQ(report.outcome, Outcome::kInDoubt);
  EXPECT_FALSE(source_.runs());
  EXPECT_EQ(sink.get().outcome, Outcome::kSourceRuns);
  EXPECT_FALSE(sink_.runs());
}

}  // namespace
}  // namespace godwit::stuck_commit_test
