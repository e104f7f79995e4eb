// The link to a sink that waits is measured, and a VM that comes is not disturbed.
#include "engine/link_test.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "engine/broker.h"
#include "wire/control.h"

namespace godwit::link_test_test {
namespace {

using namespace std::chrono_literals;

class LinkTest : public ::testing::Test {
 protected:
  Result<std::unique_ptr<Channel>> connect() { return connect_to(listener_->address()); }
  Result<BitRate> measure(unsigned connections, const std::stop_token& cancelled = {}) {
    return measure_link([this] { return connect(); }, connections, 1s, cancelled);
  }

  SteadyClock clock_;
  std::unique_ptr<Listener> listener_ = listen_on(parse_address("tcp://127.0.0.1:0").value()).value();
  std::optional<Broker> broker_{std::in_place, *listener_, clock_, 1, OnNote{}};
};

TEST_F(LinkTest, MeasuresWhatArrives) {
  const auto rate = measure(2);
  ASSERT_TRUE(rate) << rate.error().message;
  EXPECT_GT(rate->bits_per_second, 1'000'000u);
}

TEST_F(LinkTest, IsNotMadeWhileAVmComes) {
  const auto control = connect().value();
  ASSERT_TRUE(wire::send_greeting(*control, {.role = wire::Role::kControl, .secret = {std::byte{1}}}));
  wire::Hello hello{.lanes = 1, .program = "a test's source"};
  hello.fingerprint.blocks.push_back({"ram", 1 << 20, 4096});
  ASSERT_TRUE(wire::ControlConnection(*control).send(hello));
  const auto place = broker_->await_source(60s);
  ASSERT_TRUE(place);
  const auto rate = measure(1);
  ASSERT_FALSE(rate);
  EXPECT_EQ(rate.error().kind, ErrorKind::kRefused);
}

TEST_F(LinkTest, EndsWhenItIsCancelled) {
  std::stop_source cancelled;
  cancelled.request_stop();
  const auto rate = measure(1, cancelled.get_token());
  ASSERT_FALSE(rate);
  EXPECT_EQ(rate.error().kind, ErrorKind::kCancelled);
}

/// A broker that goes takes them with it, whatever still comes.
TEST_F(LinkTest, HoldsNobodyUpThatEnds) {
  const auto channel = connect().value();
  ASSERT_TRUE(wire::send_greeting(*channel, {.role = wire::Role::kLinkTest, .secret = {}}));
  // More than sockets hold: it is being read.
  ASSERT_TRUE(send_bytes(*channel, std::vector<std::byte>(64 << 20)));
  broker_.reset();
  std::array<std::byte, 1> byte;
  const Status ended = receive_bytes(*channel, byte, 60s);
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kPeerLost) << "it was left alone, open";
}

}  // namespace
}  // namespace godwit::link_test_test
