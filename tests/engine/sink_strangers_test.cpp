// Peers that speak the protocol well enough to be listened to, and are not a source that the sink can use: none of them
// keeps it from the source that comes after.
#include <array>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "tests/support/fake_migration.h"
#include "tests/support/manual_clock.h"
#include "wire/control.h"

namespace godwit::sink_strangers_test {
namespace {

using namespace std::chrono_literals;

class SinkStrangers : public testing::FakeMigration {
 protected:
  void SetUp() override {
    FakeMigration::SetUp();
    sink_report_ = std::async(std::launch::async, [this] { return run_sink(waiting_parts()); });
  }
  void TearDown() override {
    stranger_.reset();
    stop_.request_stop();
    if (sink_report_.valid()) sink_report_.get();
    FakeMigration::TearDown();
  }
  SinkParts waiting_parts() {
    SinkParts made = sink_parts(sink_);
    return {.listener = made.listener,
            .journal = made.journal,
            .fingerprint = made.fingerprint,
            .open_vm = made.open_vm,
            .clock = clock_,
            .kernels = made.kernels,
            .decoders = made.decoders,
            .on_milestone = made.on_milestone,
            .on_note =
                [this](std::string_view note) {
                  const std::lock_guard lock(mutex_);
                  notes_ += std::string(note) + "\n";
                  noted_.notify_all();
                },
            .cancelled = stop_.get_token(),
            .program = made.program};
  }
  /// A peer that says this Hello and opens its one lane.
  void say(const wire::Hello& hello) {
    const auto secret = wire::random_secret().value();
    stranger_ = connect_to(listener_->address()).value();
    ASSERT_TRUE(wire::send_greeting(*stranger_, {.role = wire::Role::kControl, .secret = secret}));
    connection_.emplace(*stranger_, 60s);
    ASSERT_TRUE(connection_->send(hello));
    lane_ = connect_to(listener_->address()).value();
    ASSERT_TRUE(wire::send_greeting(*lane_, {.role = wire::Role::kLane, .lane = 0, .secret = secret}));
  }
  /// The sink's next message that is not a heartbeat.
  Result<wire::Message> answer() {
    while (true) {
      auto message = connection_->receive();
      if (!message || !std::holds_alternative<wire::Heartbeat>(*message)) return message;
    }
  }
  bool noted(const std::string& what, Duration within = 60s) {
    std::unique_lock lock(mutex_);
    return noted_.wait_for(lock, within, [&] { return notes_.find(what) != std::string::npos; });
  }
  void expect_next_source_is_moved() {
    const auto report = send(steady_);
    EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
    EXPECT_EQ(sink_report_.get().outcome, Outcome::kDone);
  }

  testing::ManualClock clock_;
  std::stop_source stop_;
  std::mutex mutex_;
  std::condition_variable noted_;
  std::string notes_;
  std::future<SinkReport> sink_report_;
  std::unique_ptr<Channel> stranger_;
  std::unique_ptr<Channel> lane_;
  std::optional<wire::ControlConnection> connection_;
};

TEST_F(SinkStrangers, OneWhoseVmDoesNotFitIsRefusedByNameAndTheNextIsMoved) {
  auto other = sink_.fingerprint();
  other.blocks.push_back({"another block", 1 << 20, 4096});
  ASSERT_NO_FATAL_FAILURE(say({other, 1, "a stranger"}));
  const auto said = answer();
  ASSERT_TRUE(said) << said.error().message;
  const auto* refusal = std::get_if<wire::Refusal>(&*said);
  ASSERT_NE(refusal, nullptr);
  EXPECT_NE(refusal->reason.find("another block"), std::string::npos) << refusal->reason;
  stranger_->abort();
  EXPECT_TRUE(noted("another block"));
  EXPECT_TRUE(noted("waiting for a source again"));
  expect_next_source_is_moved();
}

/// It was refused, and neither reads that nor goes: bytes come, but no message.
TEST_F(SinkStrangers, OneThatStaysWhenItIsRefusedIsCutOff) {
  auto other = sink_.fingerprint();
  other.blocks.push_back({"another block", 1 << 20, 4096});
  ASSERT_NO_FATAL_FAILURE(say({other, 1, "a stranger"}));
  ASSERT_TRUE(answer());
  // The header of a message that is allowed to be large, and then its body, for ever.
  const std::array<std::byte, 8> header{std::byte{4}, {}, {}, {}, {}, {}, std::byte{4}, {}};
  ASSERT_TRUE(send_bytes(*stranger_, header));
  bool cut = false;
  for (const auto end = steady_.now() + 60s; !cut && steady_.now() < end; std::this_thread::sleep_for(20ms)) {
    cut = !send_bytes(*stranger_, std::array{std::byte{}});
    clock_.advance(100ms);
  }
  EXPECT_TRUE(cut);
  expect_next_source_is_moved();
}

/// All fits, and from then on it says nothing.
TEST_F(SinkStrangers, OneThatIsWelcomeAndFallsSilentHasSixSeconds) {
  ASSERT_NO_FATAL_FAILURE(say({sink_.fingerprint(), 1, "a stranger"}));
  const auto welcome = answer();
  ASSERT_TRUE(welcome) << welcome.error().message;
  ASSERT_TRUE(std::holds_alternative<wire::Welcome>(*welcome));
  // The header of a message that is allowed to be large, and now and then a byte of it: each begins a timer for silence
  // again.
  const std::array<std::byte, 8> header{std::byte{4}, {}, {}, {}, {}, {}, std::byte{4}, {}};
  ASSERT_TRUE(send_bytes(*stranger_, header));
  bool gone = false;
  for (const auto end = steady_.now() + 60s; !gone && steady_.now() < end; gone = noted("waiting for a source", 20ms)) {
    if (clock_.now() < Instant(60s)) clock_.advance(500ms);  // its data map would have 120
    (void)send_bytes(*stranger_, std::array{std::byte{0}});
  }
  EXPECT_TRUE(gone);
  EXPECT_TRUE(noted("within 6 s"));
  expect_next_source_is_moved();
}

/// All fits, it beats, and its data map does not come.
TEST_F(SinkStrangers, OneThatIsWelcomeAndThenSendsNoMapHasADeadline) {
  ASSERT_NO_FATAL_FAILURE(say({sink_.fingerprint(), 1, "a stranger"}));
  const auto welcome = answer();
  ASSERT_TRUE(welcome) << welcome.error().message;
  ASSERT_TRUE(std::holds_alternative<wire::Welcome>(*welcome));
  ASSERT_TRUE(connection_->send(wire::Heartbeat{}));  // before any clock moves: it is not silent
  std::jthread beats([this](const std::stop_token& stop) {
    while (!stop.stop_requested() && connection_->send(wire::Heartbeat{})) std::this_thread::sleep_for(200ms);
  });
  clock_.advance(100s);
  std::this_thread::sleep_for(300ms);
  {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(notes_, "") << "it may have to wait for a minute itself";
  }
  clock_.advance(21s);
  const auto said = answer();
  ASSERT_TRUE(said) << said.error().message;
  const auto* abort = std::get_if<wire::Abort>(&*said);
  ASSERT_NE(abort, nullptr);
  EXPECT_NE(abort->reason.find("timed out waiting for the source's data map"), std::string::npos) << abort->reason;
  // It does not go; nor does the sink wait for it.
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(5ms);
    clock_.advance(200ms);
  }
  EXPECT_TRUE(noted("waiting for a source again"));
  expect_next_source_is_moved();
}

}  // namespace
}  // namespace godwit::sink_strangers_test
