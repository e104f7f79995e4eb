// Every message of the protocol in every state of a sink, as src/wire/spec.md orders them: what does not belong there
// is refused, and nothing of the guest changes.
#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/fence.h"
#include "tests/support/fake_migration.h"
#include "wire/control.h"
#include "wire/frame.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;

enum class State { kWelcomed, kMapping, kMapped, kStopped, kEnded, kPrepared };
constexpr State kStates[] = {State::kWelcomed, State::kMapping, State::kMapped,
                             State::kStopped,  State::kEnded,   State::kPrepared};

std::string name_of(State state) {
  switch (state) {
    case State::kWelcomed:
      return "welcomed";
    case State::kMapping:
      return "in the middle of the data map";
    case State::kMapped:
      return "after the data map";
    case State::kStopped:
      return "after GuestStopped";
    case State::kEnded:
      return "after DeviceEnd";
    case State::kPrepared:
      return "prepared";
  }
  return "";
}

struct Named {
  std::string name;
  wire::Message message;
};

/// One device byte, as raw bytes are packed.
wire::PackedDevices packed(char byte) {
  return {.codec = static_cast<std::uint8_t>(CodecId::kRaw), .size = 1, .bytes = {static_cast<std::byte>(byte)}};
}

/// Each once, with a body that would be right at its time.
std::vector<Named> every_message(const Fingerprint& fingerprint, std::size_t chunks) {
  return {{"Hello", wire::Hello{fingerprint, 1, "a test's source"}},
          {"DataMap", wire::DataMap{ChunkIndex{0}, std::vector<PageWord>(chunks)}},
          {"DataMapEnd", wire::DataMapEnd{}},
          {"DeviceBytes", wire::DeviceBytes{{std::byte{'x'}}}},
          {"PackedDevices", packed('x')},
          {"GuestStopped", wire::GuestStopped{}},
          {"DeviceEnd", wire::DeviceEnd{}},
          {"MissingMap", wire::MissingMap{ChunkIndex{0}, {PageWord{1}}}},
          {"MissingMapEnd", wire::MissingMapEnd{}},
          {"StayPaused", wire::StayPaused{}},
          {"Commit", wire::Commit{}},
          {"Welcome", wire::Welcome{fingerprint, "a test's source"}},
          {"Refusal", wire::Refusal{"no reason"}},
          {"MapApplied", wire::MapApplied{}},
          {"Fenced", wire::Fenced{1}},
          {"Prepared", wire::Prepared{}},
          {"Done", wire::Done{}},
          {"Heartbeat", wire::Heartbeat{}},
          {"Abort", wire::Abort{"cancelled", "enough"}}};
}

/// The rest is refused. A DataMapEnd that comes too early and a DataMap that begins again are refused, too.
std::set<std::string> allowed_in(State state) {
  switch (state) {
    case State::kWelcomed:
      return {"DataMap", "Heartbeat", "Abort"};
    case State::kMapping:
      return {"Heartbeat", "Abort"};
    case State::kMapped:
      return {"DeviceBytes", "PackedDevices", "GuestStopped", "Heartbeat", "Abort"};
    case State::kStopped:
      return {"DeviceBytes", "PackedDevices", "DeviceEnd", "Heartbeat", "Abort"};
    case State::kEnded:
      return {"Heartbeat", "Abort"};
    case State::kPrepared:
      return {"StayPaused", "Commit", "Heartbeat", "Abort"};
  }
  return {};
}

/// A sink, and a source of the test's own.
class Exchange : public testing::FakeMigration {
 public:
  Exchange() { SetUp(); }
  ~Exchange() override {
    hang_up();
    TearDown();
  }
  void TestBody() override {}

  /// Says everything that leads to this state.
  void reach(State state) {
    open();
    const auto chunks = sink_.memory().layout().chunk_count();
    if (state >= State::kMapping) say(wire::DataMap{ChunkIndex{0}, std::vector<PageWord>(chunks / 2)});
    if (state >= State::kMapped) {
      say(wire::DataMap{ChunkIndex{chunks / 2}, std::vector<PageWord>(chunks - chunks / 2)});
      say(wire::DataMapEnd{});
      expect<wire::MapApplied>("MapApplied");
      say(wire::DeviceBytes{{std::byte{'s'}}});
    }
    if (state >= State::kStopped) say(wire::GuestStopped{});
    if (state >= State::kEnded) {
      say(wire::DeviceBytes{{std::byte{'d'}}});
      say(wire::DeviceEnd{});
    }
    if (state >= State::kPrepared) {
      const auto frame =
          wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{kLastFence}});
      EXPECT_TRUE(send_bytes(*lane_, frame));
      expect<wire::Fenced>("Fenced");
      expect<wire::Prepared>("Prepared");
    }
  }
  void say_raw(Bytes bytes) { EXPECT_TRUE(send_bytes(*control_, bytes)); }
  void say(const wire::Message& message) { EXPECT_TRUE(connection_->send(message)); }
  /// The sink's next message that is not a heartbeat.
  Result<wire::Message> next() {
    while (true) {
      auto message = connection_->receive();
      if (!message || !std::holds_alternative<wire::Heartbeat>(*message)) return message;
    }
  }
  template <typename Expected>
  void expect(const char* name) {
    const auto message = next();
    ASSERT_TRUE(message) << "instead of " << name << ": " << message.error().message;
    EXPECT_TRUE(std::holds_alternative<Expected>(*message)) << "no " << name;
  }
  SinkReport hang_up() {
    if (control_) control_->abort();
    if (lane_) lane_->abort();
    stop_.request_stop();
    if (report_.valid()) last_ = report_.get();
    return last_;
  }
  testing::FakeSinkVm& sink() { return sink_; }
  testing::RamBytes memory() { return sink_.plain().bytes(); }

 private:
  void open() {
    // Something that would be missed: only the whole data map takes it away.
    const ChunkIndex last{sink_.memory().layout().chunk_count() - 1};
    std::fill_n(sink_.plain().at(last, 0), kChunkSize, std::byte{0xee});
    report_ = std::async(std::launch::async, [this] {
      auto parts = sink_parts(sink_);
      parts.cancelled = stop_.get_token();
      return run_sink(std::move(parts));
    });
    const auto secret = wire::random_secret().value();
    control_ = connect_to(listener_->address()).value();
    EXPECT_TRUE(wire::send_greeting(*control_, {.role = wire::Role::kControl, .secret = secret}));
    lane_ = connect_to(listener_->address()).value();
    EXPECT_TRUE(wire::send_greeting(*lane_, {.role = wire::Role::kLane, .secret = secret}));
    connection_.emplace(*control_, 10s);
    say(wire::Hello{.fingerprint = sink_.fingerprint(), .lanes = 1, .program = "a test's source", .open_lanes = 1});
    expect<wire::Welcome>("Welcome");
  }

  std::stop_source stop_;
  std::future<SinkReport> report_;
  SinkReport last_;
  std::unique_ptr<Channel> control_, lane_;
  std::optional<wire::ControlConnection> connection_;
};

void expect_refused(State state, const Named& said) {
  SCOPED_TRACE(said.name + ", " + name_of(state));
  Exchange exchange;
  exchange.reach(state);
  const auto before = exchange.memory();
  exchange.say(said.message);
  const auto answer = exchange.next();
  ASSERT_TRUE(answer) << answer.error().message;
  const auto* abort = std::get_if<wire::Abort>(&*answer);
  ASSERT_NE(abort, nullptr) << "it is answered";
  EXPECT_EQ(abort->kind, name_of(ErrorKind::kProtocol)) << abort->reason;
  EXPECT_NE(abort->reason.find("the source"), std::string::npos) << abort->reason;
  EXPECT_FALSE(abort->never_ran);
  EXPECT_EQ(exchange.hang_up().outcome, Outcome::kSourceRuns);
  EXPECT_FALSE(exchange.sink().runs());
  EXPECT_EQ(exchange.sink().loaded.find('x'), std::string::npos);
  EXPECT_TRUE(exchange.memory() == before) << "the guest's memory has changed";
}

TEST(MessageOrder, WhatDoesNotBelongThereIsRefusedInEveryState) {
  unsigned refused = 0;
  testing::FakeSinkVm sink(testing::small_ram());
  for (const State state : kStates) {
    for (const Named& said : every_message(sink.fingerprint(), sink.memory().layout().chunk_count())) {
      if (allowed_in(state).contains(said.name)) continue;
      expect_refused(state, said);
      ++refused;
    }
  }
  EXPECT_GE(refused, 60U);
}

/// Which has no end that could be found: it is told what was wrong with it, and that is all.
TEST(MessageOrder, WhatIsNoMessageIsRefusedInEveryState) {
  const std::array<std::byte, 8> rubbish{std::byte{0xfe}, std::byte{0xfe}};  // a header's size
  for (const State state : kStates) {
    SCOPED_TRACE(name_of(state));
    Exchange exchange;
    exchange.reach(state);
    exchange.say_raw(rubbish);
    const auto answer = exchange.next();
    ASSERT_TRUE(answer) << answer.error().message;
    const auto* abort = std::get_if<wire::Abort>(&*answer);
    ASSERT_NE(abort, nullptr) << "it is answered";
    EXPECT_EQ(abort->kind, name_of(ErrorKind::kProtocol));
    EXPECT_NE(abort->reason.find("unknown control message 0xfefe"), std::string::npos) << abort->reason;
    EXPECT_FALSE(abort->never_ran);
    EXPECT_EQ(exchange.hang_up().outcome, Outcome::kSourceRuns);
    EXPECT_FALSE(exchange.sink().runs());
  }
}

TEST(MessageOrder, HeartbeatsBelongEverywhere) {
  for (const State state : kStates) {
    SCOPED_TRACE(name_of(state));
    Exchange exchange;
    exchange.reach(state);
    for (int i = 0; i < 3; ++i) exchange.say(wire::Heartbeat{});
    if (state != State::kPrepared) continue;
    exchange.say(wire::Commit{});
    exchange.expect<wire::Done>("Done");
    EXPECT_TRUE(exchange.sink().runs());
    EXPECT_EQ(exchange.sink().loaded, "sd");
    EXPECT_EQ(exchange.hang_up().outcome, Outcome::kDone);
  }
}

/// A Commit may be on its way then: its source must not be left in doubt.
TEST(MessageOrder, AnAbortOfASinkWhoseHypervisorHasEndedSaysThatTheGuestNeverRan) {
  for (const bool certain : {true, false}) {
    Exchange exchange;
    exchange.reach(State::kPrepared);
    exchange.sink().cannot_end = !certain;
    exchange.sink().dead = true;
    exchange.say(wire::Heartbeat{});
    const auto answer = exchange.next();
    ASSERT_TRUE(answer) << answer.error().message;
    const auto* abort = std::get_if<wire::Abort>(&*answer);
    ASSERT_NE(abort, nullptr);
    EXPECT_EQ(abort->never_ran, certain);
    EXPECT_EQ(exchange.hang_up().outcome, Outcome::kSourceRuns);
  }
}

/// Whenever it comes, it is the end, and the guest stays with its source.
TEST(MessageOrder, AnAbortEndsItInEveryState) {
  for (const State state : kStates) {
    SCOPED_TRACE(name_of(state));
    Exchange exchange;
    exchange.reach(state);
    exchange.say(wire::Abort{"cancelled", "enough"});
    const auto answer = exchange.next();
    EXPECT_TRUE(!answer || std::holds_alternative<wire::Abort>(*answer)) << "nothing else is said after it";
    EXPECT_EQ(exchange.hang_up().outcome, Outcome::kSourceRuns);
    EXPECT_FALSE(exchange.sink().runs());
  }
}

}  // namespace
}  // namespace godwit
