// Whoever waits for a source is held up by nobody else: the greeter, and a broker that has one place.
#include "engine/broker.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "tests/support/manual_clock.h"
#include "wire/control.h"

namespace godwit::greeter_test {
namespace {

using namespace std::chrono_literals;

/// For what happens at once, on a slow machine.
constexpr Duration kPatience = 60s;

class GreeterTest : public ::testing::Test {
 protected:
  using Connection = std::unique_ptr<Channel>;

  Connection connect() { return std::move(connect_to(listener_->address()).value()); }
  static wire::Secret secret(int n) {
    wire::Secret made{};
    made[0] = std::byte(n);
    return made;
  }
  static wire::Hello hello(unsigned lanes = 2) {
    wire::Hello made{.lanes = static_cast<std::uint16_t>(lanes), .program = "a test's source"};
    made.fingerprint.blocks.push_back({"ram", 1 << 20, 4096});
    return made;
  }
  static void greet(Channel& channel, int n) {
    ASSERT_TRUE(wire::send_greeting(channel, {.role = wire::Role::kControl, .secret = secret(n)}));
  }
  static void say_hello(Channel& channel, int n) {
    greet(channel, n);
    ASSERT_TRUE(wire::ControlConnection(channel).send(hello()));
  }
  Connection lane(int n, unsigned number) {
    auto channel = connect();
    EXPECT_TRUE(wire::send_greeting(
        *channel, {.role = wire::Role::kLane, .lane = static_cast<std::uint16_t>(number), .secret = secret(n)}));
    return channel;
  }
  /// What a source's opening is made of.
  static std::vector<std::byte> opening_bytes(int n) {
    auto pair = make_channel_pair().value();
    say_hello(*pair.first, n);
    EXPECT_TRUE(pair.first->shut_down());
    std::vector<std::byte> bytes;
    std::array<std::byte, 1> one;
    while (receive_bytes(*pair.second, one)) bytes.push_back(one[0]);
    return bytes;
  }
  bool noted(const std::string& what, Duration within = kPatience) {
    for (const auto end = SteadyClock().now() + within; SteadyClock().now() < end; std::this_thread::sleep_for(5ms)) {
      const std::lock_guard lock(mutex_);
      if (notes_.find(what) != std::string::npos) return true;
    }
    return false;
  }
  static bool is_closed(Channel& channel) {
    std::array<std::byte, 1> byte;
    const Status got = receive_bytes(channel, byte, kPatience);
    return !got && got.error().kind == ErrorKind::kPeerLost;
  }
  static std::string refusal(Channel& channel) {
    const auto answer = wire::ControlConnection(channel, kPatience).receive();
    if (!answer) return answer.error().message;
    const auto* refused = std::get_if<wire::Refusal>(&*answer);
    return refused != nullptr ? refused->reason : "another message";
  }

  std::unique_ptr<Listener> listener_ = std::move(listen_on(parse_address("tcp://127.0.0.1:0").value()).value());
  testing::ManualClock clock_;
  std::mutex mutex_;
  std::string notes_;
  Broker broker_{*listener_, clock_, 1, [this](std::string_view note) {
                   const std::lock_guard lock(mutex_);
                   notes_ += std::string(note) + "\n";
                 }};
};

TEST_F(GreeterTest, ASourceIsHeardBesideAnyNumberOfSilentStrangers) {
  std::vector<Connection> strangers;
  // Two descriptors each, of which a process has 1024.
  for (int i = 0; i < 600; ++i) strangers.push_back(connect());
  const auto source = connect();
  say_hello(*source, 7);
  auto place = broker_.await_source({});
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_TRUE(place->source().secret == secret(7));
  EXPECT_TRUE(place->source().hello == hello());
  // No clock has moved: nobody's deadline was waited for. And most of them are gone.
  int open = 0;
  for (const auto& stranger : strangers) {
    std::array<std::byte, 1> byte;
    open += stranger->read(byte, 0, Deadline::never()).has_value();
  }
  EXPECT_LT(open, 300);
  EXPECT_TRUE(noted("too many connect here"));
  EXPECT_TRUE(noted("no more is said of them"));
}

/// A source with a wrong key, weeks after a scan of ports, must not be turned away without a word.
TEST_F(GreeterTest, WhoComesHoursAfterAScanIsSpokenOfToo) {
  const std::vector<std::byte> rubbish(64, std::byte{'x'});
  for (int i = 0; i < 30; ++i) {
    const auto stranger = connect();
    ASSERT_TRUE(send_bytes(*stranger, rubbish));
    EXPECT_TRUE(is_closed(*stranger));
  }
  EXPECT_TRUE(noted("no more is said of them"));
  clock_.advance(1h);
  const auto late = connect();
  ASSERT_TRUE(send_bytes(*late, rubbish));
  EXPECT_TRUE(noted("10 more connections have been turned away since then\na connection was turned away: "));
}

TEST_F(GreeterTest, AStrangerThatDripsItsHelloHasADeadlineForAllOfIt) {
  const auto stranger = connect();
  const auto bytes = opening_bytes(1);
  // A byte comes long before any limit on the next one.
  for (std::size_t i = 0; i + 1 < bytes.size() && !noted("Hello within 15 s", 0ms); ++i) {
    (void)send_bytes(*stranger, Bytes(bytes).subspan(i, 1));
    std::this_thread::sleep_for(2ms);
    clock_.advance(i < 48 ? 50ms : 200ms);
  }
  EXPECT_TRUE(noted("it did not say Hello within 15 s"));
  EXPECT_TRUE(is_closed(*stranger));
}

TEST_F(GreeterTest, AStrangerThatDripsItsGreetingHasFiveSeconds) {
  const auto stranger = connect();
  const auto bytes = opening_bytes(1);
  for (std::size_t i = 0; i < 40; ++i) {
    ASSERT_TRUE(send_bytes(*stranger, Bytes(bytes).subspan(i, 1)));
    std::this_thread::sleep_for(2ms);
    clock_.advance(100ms);
  }
  EXPECT_FALSE(noted("did not", 100ms));
  clock_.advance(2s);
  EXPECT_TRUE(noted("it did not greet within 5 s"));
  EXPECT_TRUE(is_closed(*stranger));
}

TEST_F(GreeterTest, SourcesThatBreakOffHaveNeverBeenHere) {
  const auto bytes = opening_bytes(1);
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{5}, std::size_t{48}, std::size_t{52}, bytes.size() - 1}) {
    const auto stranger = connect();
    ASSERT_TRUE(send_bytes(*stranger, Bytes(bytes).first(length)));
  }
  const auto source = connect();
  ASSERT_TRUE(send_bytes(*source, opening_bytes(9)));
  auto place = broker_.await_source({});
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_TRUE(place->source().secret == secret(9));
}

TEST_F(GreeterTest, WhatIsNoHelloIsTurnedAway) {
  const auto other_message = connect();
  greet(*other_message, 1);
  ASSERT_TRUE(wire::ControlConnection(*other_message).send(wire::Commit{}));
  EXPECT_NE(refusal(*other_message).find("not Hello"), std::string::npos);
  const auto malformed = connect();
  greet(*malformed, 1);
  const std::array<std::byte, 10> body{std::byte{1},  {}, {}, {}, std::byte{2}, {}, {}, {}, std::byte{'{'},
                                       std::byte{'}'}};
  ASSERT_TRUE(send_bytes(*malformed, body));
  EXPECT_NE(refusal(*malformed).find("missing"), std::string::npos);
  const auto endless = connect();
  greet(*endless, 1);
  const std::array<std::byte, 8> header{std::byte{1}, {}, {}, {}, {}, {}, {}, std::byte{0x7f}};
  ASSERT_TRUE(send_bytes(*endless, header));
  EXPECT_NE(refusal(*endless).find("at most"), std::string::npos);
  const auto browser = connect();
  ASSERT_TRUE(send_bytes(*browser, bytes_of("GET / HTTP/1.1\r\n\r\n")));
  EXPECT_TRUE(is_closed(*browser)) << "what it does not understand is not said to it";
}

/// Then it can say why it did not work.
TEST_F(GreeterTest, ASourceOfAnotherVersionIsToldSo) {
  const auto source = connect();
  ASSERT_TRUE(wire::send_greeting(*source, {.version = 99, .role = wire::Role::kControl, .secret = secret(1)}));
  ASSERT_TRUE(send_bytes(*source, std::vector<std::byte>(5000)));  // its Hello, whatever that looks like
  EXPECT_NE(refusal(*source).find("version 99"), std::string::npos);
}

TEST_F(GreeterTest, LanesMayComeBeforeTheirSourceAndInAnyOrder) {
  const auto second = lane(1, 1);
  const auto strange = lane(2, 0);
  const auto first = lane(1, 0);
  const auto source = connect();
  say_hello(*source, 1);
  auto place = broker_.await_source({});
  ASSERT_TRUE(place) << place.error().message;
  const auto lanes = place->await_lanes(2, true);
  ASSERT_TRUE(lanes) << lanes.error().message;
  ASSERT_EQ(lanes->size(), 2U);
  EXPECT_EQ(lanes->at(0).number, 0);
  EXPECT_EQ(lanes->at(1).number, 1);
  place->settle("busy");
  EXPECT_TRUE(is_closed(*strange));
  EXPECT_TRUE(noted("wrong session secret"));
  EXPECT_TRUE(is_closed(*lane(1, 1))) << "a lane that comes when all have come";
}

TEST_F(GreeterTest, LanesThatAreLostOnTheWayAreNotWaitedForLong) {
  const auto third = lane(1, 2);
  const auto first = lane(1, 0);
  std::vector<Connection> sources;
  const auto place_of = [&](int n) {
    sources.push_back(connect());
    say_hello(*sources.back(), n);
    return std::move(broker_.await_source({}).value());
  };
  std::jthread time([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(2ms);
      clock_.advance(50ms);
    }
  });
  const auto lanes = place_of(1).await_lanes(4, false);
  ASSERT_TRUE(lanes) << lanes.error().message;
  ASSERT_EQ(lanes->size(), 2U);
  EXPECT_EQ(lanes->at(0).number, 0);
  EXPECT_EQ(lanes->at(1).number, 2);
  const auto some_of_all = lane(3, 0);
  const auto not_all = place_of(3).await_lanes(2, true);
  ASSERT_FALSE(not_all);
  EXPECT_NE(not_all.error().message.find("1 of"), std::string::npos) << not_all.error().message;
  const auto none = place_of(2).await_lanes(4, false);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kPeerLost);
}

TEST_F(GreeterTest, LanesOfNobodyTakeNoRoomFromOthers) {
  const auto source = connect();
  greet(*source, 1);
  const auto first = lane(1, 0);
  std::vector<Connection> false_lanes;
  for (int i = 0; i < 200; ++i) false_lanes.push_back(lane(2, 0));
  EXPECT_TRUE(noted("wrong session secret"));
  const auto second = lane(1, 1);
  ASSERT_TRUE(wire::ControlConnection(*source).send(hello()));
  auto place = broker_.await_source({});
  ASSERT_TRUE(place) << place.error().message;
  const auto lanes = place->await_lanes(2, true);
  ASSERT_TRUE(lanes) << lanes.error().message;
  EXPECT_EQ(lanes->size(), 2U);
}

TEST_F(GreeterTest, ALaneThatComesTwiceIsAnError) {
  const auto one = lane(1, 0);
  const auto same = lane(1, 0);
  const auto source = connect();
  say_hello(*source, 1);
  auto place = broker_.await_source({});
  ASSERT_TRUE(place) << place.error().message;
  const auto lanes = place->await_lanes(2, true);
  ASSERT_FALSE(lanes);
  EXPECT_EQ(lanes.error().kind, ErrorKind::kProtocol);
}

TEST_F(GreeterTest, ASecondSourceWaitsUntilItIsRefused) {
  const auto first = connect();
  say_hello(*first, 1);
  auto place = broker_.await_source({});
  ASSERT_TRUE(place) << place.error().message;
  const auto second = connect();
  say_hello(*second, 2);
  std::array<std::byte, 1> byte;
  EXPECT_EQ(receive_bytes(*second, byte, 200ms).error().kind, ErrorKind::kTimedOut);
  place->settle("another VM is on its way");
  EXPECT_EQ(refusal(*second), "another VM is on its way");
  const auto third = connect();
  say_hello(*third, 3);
  EXPECT_EQ(refusal(*third), "another VM is on its way");
}

TEST_F(GreeterTest, WaitingEnds) {
  std::jthread time([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(5ms);
      clock_.advance(1s);
    }
  });
  EXPECT_EQ(broker_.await_source(10s).error().kind, ErrorKind::kTimedOut);
  std::stop_source stop;
  std::jthread ender([&] {
    std::this_thread::sleep_for(50ms);
    stop.request_stop();
  });
  EXPECT_EQ(broker_.await_source({}, stop.get_token()).error().kind, ErrorKind::kCancelled);
  ender = std::jthread([&] {
    std::this_thread::sleep_for(50ms);
    listener_->abort();
  });
  EXPECT_EQ(broker_.await_source({}).error().kind, ErrorKind::kCancelled);
}

}  // namespace
}  // namespace godwit::greeter_test
