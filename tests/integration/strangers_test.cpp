// Whoever else connects to a waiting `godwit receive` delays no move and ends no waiting; and neither does a source
// that breaks off before anything has been changed there.
#include <sys/socket.h>

#include <array>
#include <thread>

#include "net/channel.h"
#include "tests/integration/scene.h"
#include "wire/control.h"

namespace godwit::testing {
namespace {

using Connection = std::unique_ptr<Channel>;

wire::Greeting some_greeting() {
  wire::Greeting greeting;
  greeting.secret.fill(std::byte{0x5a});
  return greeting;
}

/// What a source says first: all of it is right, except for the VM that it names.
std::vector<std::byte> opening_bytes() {
  auto pair = make_channel_pair().value();
  EXPECT_TRUE(wire::send_greeting(*pair.first, some_greeting()));
  wire::Hello hello{.lanes = 1, .program = "a stranger"};
  hello.fingerprint.blocks.push_back({"ram", kMiB, 4096});
  EXPECT_TRUE(wire::ControlConnection(*pair.first).send(hello));
  EXPECT_TRUE(pair.first->shut_down());
  std::vector<std::byte> bytes;
  std::array<std::byte, 1> one;
  while (receive_bytes(*pair.second, one)) bytes.push_back(one[0]);
  return bytes;
}

/// Everything that knocks at an open port, again and again until the end.
class Crowd {
 public:
  explicit Crowd(Address to) : to_(std::move(to)) {
    for (int i = 0; i < 3; ++i) knock();  // silent, and before the source
    if (auto* closing = knock()) {        // greets and goes
      (void)wire::send_greeting(*closing, some_greeting());
      (void)closing->shut_down();
    }
    dripping_ = knock();
    for (int i = 0; i < 200; ++i) knock();
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

 private:
  Channel* knock() {
    auto connection = connect_to(to_, {.connect_timeout = milliseconds(300)});
    if (!connection) return nullptr;
    here_.push_back(std::move(*connection));
    return here_.back().get();
  }
  void run(const std::stop_token& stop) {
    const auto bytes = opening_bytes();
    for (std::size_t i = 0; !stop.stop_requested(); ++i) {
      if (dripping_ != nullptr && i < bytes.size() - 1) (void)send_bytes(*dripping_, Bytes(bytes).subspan(i, 1));
      if (i % 4 == 0 && here_.size() < 400) knock();
      if (i % 16 == 0) {
        if (auto* talker = knock()) (void)send_bytes(*talker, bytes_of("GET / HTTP/1.1\r\n\r\n"));
      }
      nap(milliseconds(20));
    }
  }
  Address to_;
  std::vector<Connection> here_;
  Channel* dripping_ = nullptr;
  std::jthread thread_;
};

void move_beside_a_crowd(QemuVersion version) {
  QemuOptions options = quiet_vm();
  options.version = version;
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  const Crowd crowd(address);
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

TEST(Strangers, DoNotDelayAMove) {
  move_beside_a_crowd(QemuVersion::k7_2);
}

TEST(Strangers, DoNotDelayAMoveOfQemu10) {
  move_beside_a_crowd(QemuVersion::k10_0);
}

/// Each was the end of `receive` once.
TEST(Strangers, ThatBreakOffDoNotEndTheWaiting) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  const auto bytes = opening_bytes();
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{20}, std::size_t{48}, std::size_t{52}, bytes.size() - 1}) {
    ASSIGN_OR_FAIL(stranger, connect_to(address));
    ASSERT_OK(send_bytes(*stranger, Bytes(bytes).first(length)));
  }
  ASSIGN_OR_FAIL(liar, connect_to(address));
  ASSERT_OK(wire::send_greeting(*liar, some_greeting()));
  ASSERT_OK(wire::ControlConnection(*liar).send(wire::Commit{}));
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->receiver().errors(), "turned away")) << scene->receiver().errors();
}

/// One that says a whole Hello, with a VM that does not fit.
void move_after_a_misfit(QemuVersion version) {
  QemuOptions options = quiet_vm();
  options.version = version;
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  {
    ASSIGN_OR_FAIL(stranger, connect_to(address));
    ASSERT_OK(send_bytes(*stranger, opening_bytes()));
    const auto answer = wire::ControlConnection(*stranger, seconds(20)).receive();
    ASSERT_OK(answer);
    EXPECT_TRUE(std::holds_alternative<wire::Refusal>(*answer));
  }
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->receiver().errors(), "does not fit")) << scene->receiver().errors();
  EXPECT_TRUE(says(scene->receiver().errors(), "waiting for a source again")) << scene->receiver().errors();
}

TEST(Strangers, AVmThatDoesNotFitDoesNotEndTheWaiting) {
  move_after_a_misfit(QemuVersion::k7_2);
}

TEST(Strangers, AVmThatDoesNotFitDoesNotEndTheWaitingOfQemu10) {
  move_after_a_misfit(QemuVersion::k10_0);
}

/// A second source, while the first one's VM is on its way.
TEST(Strangers, ASecondSourceIsToldThatAnotherIsServed) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("copying", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  ASSIGN_OR_FAIL(second, connect_to(address));
  ASSERT_OK(send_bytes(*second, opening_bytes()));
  const auto answer = wire::ControlConnection(*second, seconds(4)).receive();
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(answer);
  const auto* refused = std::get_if<wire::Refusal>(&*answer);
  ASSERT_NE(refused, nullptr);
  EXPECT_TRUE(says(refused->reason, "another VM")) << refused->reason;
  ASSERT_OK(scene->expect_moved());
}

class BrokenFirstTry : public ::testing::TestWithParam<std::pair<QemuVersion, const char*>> {};

TEST_P(BrokenFirstTry, LetsReceiveWaitForTheNext) {
  const auto [version, at] = GetParam();
  QemuOptions options = quiet_vm();
  options.version = version;
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(at, "kill")));
  ASSIGN_OR_FAIL(broken, scene->sender().wait(seconds(60)));
  ASSERT_EQ(broken.signal, SIGKILL);
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  const bool had_come = std::string(at) != "connected";
  EXPECT_TRUE(says(scene->receiver().errors(), had_come ? "waiting for a source again" : "turned away"))
      << scene->receiver().errors();
}

INSTANTIATE_TEST_SUITE_P(At, BrokenFirstTry,
                         ::testing::Values(std::pair{QemuVersion::k7_2, "connected"},
                                           std::pair{QemuVersion::k7_2, "welcomed"},
                                           std::pair{QemuVersion::k10_0, "tracking"}),
                         [](const auto& tested) { return std::string(tested.param.second); });

/// The same with a source that can still say why.
TEST(BrokenFirstTry, CancelledByItsOperator) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("welcomed", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSIGN_OR_FAIL(cancelled, scene->sender().wait(seconds(60)));
  EXPECT_EQ(cancelled.code, 1) << scene->sender().errors();
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->receiver().errors(), "cancelled by the operator")) << scene->receiver().errors();
}

}  // namespace
}  // namespace godwit::testing
