// Fences as the sink sees them: a source of the test's own speaks the protocol, and does not keep its rules.
#include <future>
#include <thread>
#include <vector>

#include "engine/fence.h"
#include "tests/support/fake_migration.h"
#include "wire/control.h"
#include "wire/frame.h"

namespace godwit::sink_fences_test {
namespace {

using namespace std::chrono_literals;

class SinkFences : public testing::FakeMigration {
 protected:
  void TearDown() override {
    if (control_) control_->abort();
    for (auto& lane : lanes_) lane->abort();
    if (sink_report_.valid()) sink_report_.get();
    FakeMigration::TearDown();
  }
  /// Up to the point where lanes may send: a guest all of zeros.
  void begin(unsigned lanes) {
    sink_report_ = std::async(std::launch::async, [this] { return receive(); });
    const auto secret = wire::random_secret().value();
    control_ = connect_to(listener_->address()).value();
    ASSERT_TRUE(wire::send_greeting(*control_, {.role = wire::Role::kControl, .secret = secret}));
    connection_.emplace(*control_, 5s);
    ASSERT_TRUE(
        connection_->send(wire::Hello{sink_.fingerprint(), static_cast<std::uint16_t>(lanes), "a test's source"}));
    ASSERT_TRUE(std::holds_alternative<wire::Welcome>(next()));
    for (unsigned i = 0; i < lanes; ++i) {
      lanes_.push_back(connect_to(listener_->address()).value());
      ASSERT_TRUE(wire::send_greeting(
          *lanes_.back(), {.role = wire::Role::kLane, .lane = static_cast<std::uint16_t>(i), .secret = secret}));
    }
    const auto chunks = sink_.memory().layout().chunk_count();
    ASSERT_TRUE(connection_->send(wire::DataMap{ChunkIndex{0}, std::vector<PageWord>(chunks)}));
    ASSERT_TRUE(connection_->send(wire::DataMapEnd{}));
    ASSERT_TRUE(std::holds_alternative<wire::MapApplied>(next()));
  }
  /// The sink's next message that is not a heartbeat; a Heartbeat if it says nothing more.
  wire::Message next() {
    while (true) {
      auto message = connection_->receive();
      if (!message) {
        ADD_FAILURE() << message.error().message;
        return wire::Heartbeat{};
      }
      if (!std::holds_alternative<wire::Heartbeat>(*message)) return *message;
    }
  }
  void fence(unsigned lane, std::uint32_t number) {
    const auto frame = wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{number}});
    ASSERT_TRUE(send_bytes(*lanes_[lane], frame));
  }
  void expect_fenced(std::uint32_t number) {
    const auto message = next();
    const auto* fenced = std::get_if<wire::Fenced>(&message);
    ASSERT_NE(fenced, nullptr) << "message " << message.index();
    EXPECT_EQ(fenced->fence, number);
  }
  void expect_refused(std::uint32_t number) {
    const auto message = next();
    const auto* abort = std::get_if<wire::Abort>(&message);
    ASSERT_NE(abort, nullptr) << "the sink says message " << message.index();
    EXPECT_NE(abort->reason.find("fence " + std::to_string(number) + " out of order"), std::string::npos)
        << abort->reason;
    control_->abort();
    const auto report = sink_report_.get();
    EXPECT_EQ(report.outcome, Outcome::kSourceRuns);
    ASSERT_TRUE(report.error.has_value());
    EXPECT_EQ(report.error->kind, ErrorKind::kProtocol);
    EXPECT_FALSE(sink_.runs());
    EXPECT_TRUE(sink_.gave_up);
  }

  std::future<SinkReport> sink_report_;
  std::unique_ptr<Channel> control_;
  std::optional<wire::ControlConnection> connection_;
  std::vector<std::unique_ptr<Channel>> lanes_;
};

TEST_F(SinkFences, AreAnsweredWhenTheLastLaneHasPassedThem) {
  begin(3);
  // In whatever order the lanes get theirs: the first answer speaks of the lane that is furthest behind.
  fence(0, 7);
  fence(1, 5);
  fence(2, 3);
  expect_fenced(3);
  if (HasFailure()) return;
  fence(2, 9);
  expect_fenced(5);
  fence(1, 8);
  expect_fenced(7);
}

TEST_F(SinkFences, TheLastOneOfOneLaneIsNotThatOfAll) {
  begin(2);
  fence(0, kLastFence);
  std::this_thread::sleep_for(50ms);  // for this lane to be first, which is what a wrong answer takes
  fence(1, 1);
  expect_fenced(1);
  if (HasFailure()) return;
  // Devices need all of RAM: nothing after the stop is loaded before the other lane has come to its end, too.
  ASSERT_TRUE(connection_->send(wire::DeviceBytes{{std::byte{'s'}}}));
  ASSERT_TRUE(connection_->send(wire::GuestStopped{}));
  ASSERT_TRUE(connection_->send(wire::DeviceBytes{{std::byte{'d'}}}));
  ASSERT_TRUE(connection_->send(wire::DeviceEnd{}));
  fence(1, 2);
  expect_fenced(2);  // and no Prepared before it
  fence(1, kLastFence);
  expect_fenced(kLastFence);
  EXPECT_TRUE(std::holds_alternative<wire::Prepared>(next()));
  EXPECT_EQ(sink_.loaded, "sd");
  EXPECT_FALSE(sink_.runs());
}

TEST_F(SinkFences, NothingIsPreparedBeforeTheLastOne) {
  begin(2);
  ASSERT_TRUE(connection_->send(wire::GuestStopped{}));
  ASSERT_TRUE(connection_->send(wire::DeviceBytes{{std::byte{'d'}}}));
  ASSERT_TRUE(connection_->send(wire::DeviceEnd{}));
  fence(0, kDevicesFence);
  fence(1, kDevicesFence);
  expect_fenced(kDevicesFence);
  // Devices are loaded now; RAM is not complete, though one lane says so.
  fence(0, kLastFence);
  std::this_thread::sleep_for(100ms);  // for a Prepared that is wrong to be first
  fence(1, kLastFence);
  expect_fenced(kLastFence);
  EXPECT_TRUE(std::holds_alternative<wire::Prepared>(next()));
  EXPECT_EQ(sink_.loaded, "d");
}

TEST_F(SinkFences, ThatComesTwiceIsRefused) {
  begin(1);
  fence(0, 5);
  expect_fenced(5);
  fence(0, 5);
  expect_refused(5);
}

TEST_F(SinkFences, ThatGoesBackIsRefused) {
  begin(2);
  fence(0, 5);
  fence(0, 4);
  expect_refused(4);
}

TEST_F(SinkFences, ZeroIsNone) {
  begin(1);
  fence(0, 0);
  expect_refused(0);
}

}  // namespace
}  // namespace godwit::sink_fences_test
