// Connecting to a name that has several addresses.
#include "net/connect.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <array>
#include <cstring>
#include <thread>

namespace godwit::testing::connect_test {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

// As long as a slow machine may take to connect over loopback; shorter than kPatient by far.
constexpr Duration kSoon = 20s;
constexpr Liveness kPatient{.connect_timeout = 120s};

HostAddress host(const std::string& numeric, std::uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  ::inet_pton(AF_INET, numeric.c_str(), &v4.sin_addr);
  HostAddress made;
  std::memcpy(&made.storage, &v4, sizeof v4);
  made.size = sizeof v4;
  return made;
}

std::vector<HostAddress> hosts(const std::vector<std::string>& numeric, std::uint16_t port) {
  std::vector<HostAddress> made;
  for (const auto& one : numeric) made.push_back(host(one, port));
  return made;
}

/// An address on loopback that does not answer: its queue of connections is full, and the kernel drops what comes then.
class SilentAddress {
 public:
  SilentAddress(const std::string& numeric, std::uint16_t port) : address_(host(numeric, port)) {
    socket_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(socket_.get(), address_.get(), address_.size), 0);
    EXPECT_EQ(::listen(socket_.get(), 0), 0);
    for (int i = 0; i < 20; ++i) {
      auto filler = connect_first({&address_, 1}, {}, 200ms);
      if (!filler) return;
      fillers_.push_back(std::move(filler->socket));
    }
    ADD_FAILURE() << "20 connections fit into a backlog of 0";
  }

 private:
  HostAddress address_;
  UniqueFd socket_;
  std::vector<UniqueFd> fillers_;
};

struct Place {
  std::unique_ptr<Listener> listener = std::move(listen_on(parse_address("tcp://127.0.0.1:0").value()).value());
  std::uint16_t port = listener->address().port;
  Address name{.kind = Address::Kind::kTcp, .host = "a-name", .port = port, .path = {}};
};

TEST(Connect, AFirstAddressThatDoesNotAnswerCostsNoTimeout) {
  Place place;
  const SilentAddress silent("127.0.0.2", place.port);
  const auto began = std::chrono::steady_clock::now();
  Route route(place.name, kPatient, [&](const Address&) { return hosts({"127.0.0.2", "127.0.0.1"}, place.port); });
  const auto channel = route.connect();
  ASSERT_TRUE(channel) << channel.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - began, kSoon);
  EXPECT_TRUE(place.listener->accept(10s));
}

TEST(Connect, LaterConnectionsGoWhereTheFirstOneWent) {
  Place place;
  const SilentAddress silent("127.0.0.2", place.port);
  int looked_up = 0;
  Route route(place.name, kPatient, [&](const Address&) {
    // From the second time on the name means something else: nobody may ask.
    return ++looked_up == 1 ? hosts({"127.0.0.2", "127.0.0.1"}, place.port) : hosts({"127.0.0.2"}, place.port);
  });
  for (int i = 0; i < 4; ++i) {
    const auto channel = route.connect();
    ASSERT_TRUE(channel) << channel.error().message;
    EXPECT_TRUE(place.listener->accept(10s));
  }
  EXPECT_EQ(looked_up, 1);
}

TEST(Connect, AnAddressThatRefusesIsNotWaitedFor) {
  Place place;
  // Nobody listens on 127.0.0.2: refused at once, so that the next address need not wait for its turn.
  Route route(place.name, kPatient, [&](const Address&) {
    return hosts({"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"}, place.port);
  });
  const auto channel = route.connect();
  ASSERT_TRUE(channel) << channel.error().message;
}

TEST(Connect, EachAddressThatFailedIsNamedWithItsReason) {
  Place place;
  place.listener.reset();
  const SilentAddress silent("127.0.0.2", place.port);
  Route route(place.name, {.connect_timeout = 600ms}, [&](const Address&) {
    return hosts({"127.0.0.2", "127.0.0.3"}, place.port);
  });
  const auto channel = route.connect();
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.error().kind, ErrorKind::kPeerLost);
  EXPECT_THAT(channel.error().message, HasSubstr("tcp://a-name:"));
  EXPECT_THAT(channel.error().message, HasSubstr("127.0.0.2: no answer within 0.6 s"));
  EXPECT_THAT(channel.error().message, HasSubstr("127.0.0.3: Connection refused"));
}

/// The address that answered first answers no more, and the name's other one does: later connections go there.
TEST(Connect, AfterALossAnyAddressOfTheNameMayAnswer) {
  Place place;
  int looked_up = 0;
  Route route(place.name, {.connect_timeout = 20s}, [&](const Address&) {
    ++looked_up;
    return hosts({"127.0.0.1", "127.0.0.2"}, place.port);
  });
  ASSERT_TRUE(route.connect());
  place.listener.reset();
  const SilentAddress silent("127.0.0.1", place.port);
  const auto other =
      listen_on(Address{.kind = Address::Kind::kTcp, .host = "127.0.0.2", .port = place.port, .path = {}});
  ASSERT_TRUE(other) << other.error().message;
  EXPECT_FALSE(route.connect()) << "where it was before nobody answers";
  for (const Whereto where : {Whereto::kAnyAddress, Whereto::kAsBefore, Whereto::kAnyAddress}) {
    const auto channel = route.connect(where);
    ASSERT_TRUE(channel) << channel.error().message;
    EXPECT_TRUE((*other)->accept(10s));
  }
  EXPECT_FALSE(route.connect(Whereto::kAsAtFirst)) << "where the first one went, whoever has answered since";
  EXPECT_EQ(looked_up, 1) << "who knows names may be out of reach, too";
}

TEST(Connect, AStopEndsAConnectThatNobodyAnswers) {
  Place place;
  const SilentAddress silent("127.0.0.2", place.port);
  Route route(place.name, kPatient, [&](const Address&) { return hosts({"127.0.0.2"}, place.port); });
  std::stop_source stop;
  const auto began = std::chrono::steady_clock::now();
  const std::jthread stopper([&] {
    std::this_thread::sleep_for(100ms);
    stop.request_stop();
  });
  const auto channel = route.connect(Whereto::kAsBefore, stop.get_token());
  ASSERT_FALSE(channel);
  EXPECT_EQ(channel.error().kind, ErrorKind::kCancelled) << channel.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - began, kSoon);
}

/// One whose peer takes the connection and says nothing.
TEST(Connect, AStopEndsAHandshakeOnTheWayBack) {
  Place place;
  const auto route =
      std::make_shared<Route>(place.name, kPatient, [&](const Address&) { return hosts({"127.0.0.1"}, place.port); });
  const auto reconnect = reconnecting(route, [](std::unique_ptr<Channel> fresh) -> Result<std::unique_ptr<Channel>> {
    std::array<std::byte, 1> answer;
    TRY(fresh->read(answer, 1, Deadline::in(120s)));
    return fresh;
  });
  std::stop_source stop;
  const auto began = std::chrono::steady_clock::now();
  const std::jthread stopper([&] {
    std::this_thread::sleep_for(100ms);
    stop.request_stop();
  });
  EXPECT_FALSE(reconnect(Whereto::kAnyAddress, stop.get_token()));
  EXPECT_LT(std::chrono::steady_clock::now() - began, kSoon);
}

TEST(Connect, AWayThatIsClosedNowIsNotWaitedForLong) {
  Place place;
  Route route(place.name, kPatient, [&](const Address&) { return hosts({"127.0.0.1"}, place.port); });
  ASSERT_TRUE(route.connect());
  place.listener.reset();
  const SilentAddress silent("127.0.0.1", place.port);
  const auto began = std::chrono::steady_clock::now();
  const auto channel = route.connect();
  ASSERT_FALSE(channel);
  EXPECT_THAT(channel.error().message, HasSubstr("127.0.0.1: no answer within"));
  EXPECT_LT(std::chrono::steady_clock::now() - began, kPatient.connect_timeout / 2);
}

}  // namespace
}  // namespace godwit::testing::connect_test
