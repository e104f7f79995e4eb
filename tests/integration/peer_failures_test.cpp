// The other side fails: its QEMU, its engine, the link, or what it says. The source's guest runs on.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <thread>

#include "net/channel.h"
#include "tests/integration/scene.h"
#include "wire/control.h"

namespace godwit::testing {
namespace {

/// A migration that lasts: some 12 MiB of cold memory at 40 Mbit/s.
QemuOptions slow_vm() {
  QemuOptions options = quiet_vm();
  options.guest_line = "work=256K cold=64M:12M stride=64 rate=4000";
  return options;
}

GodwitOptions slowly() {
  GodwitOptions options;
  options.arguments = {"--bandwidth", "40Mbit", "--codec", "raw", "--max-downtime", "1s"};
  return options;
}

/// Starts a slow migration and waits until bytes flow.
Status begin_slowly(Scene& scene) {
  TRY(scene.receive());
  GodwitOptions options = slowly();
  options.environment = failing_at("copying", "stop").environment;
  TRY(scene.send(options));
  TRY(scene.sender().process().wait_until_stopped(seconds(60)));
  TRY(scene.sender().process().send_signal(SIGCONT));
  nap(milliseconds(300));
  return {};
}

TEST(PeerFails, SinkQemuIsKilledWhileCopying) {
  ASSIGN_OR_SKIP(scene, Scene::make(slow_vm()));
  ASSERT_OK(begin_slowly(*scene));
  scene->sink().process().kill();
  ASSERT_OK(scene->expect_source_runs({"destination"}));
}

/// As above, where the copying alone would go on for minutes: nobody copies into a QEMU that is dead.
TEST(PeerFailsLong, DeadSinkQemuIsNoticedSoon) {
  ASSIGN_OR_SKIP(scene, Scene::make(slow_vm()));
  ASSERT_OK(scene->receive());
  GodwitOptions options;
  options.arguments = {"--bandwidth", "1Mbit", "--codec", "raw"};
  ASSERT_OK(scene->send(options));
  nap(seconds(2));
  scene->sink().process().kill();
  ASSERT_OK(scene->sender().wait(seconds(20)));
  ASSERT_OK(scene->expect_source_runs({"destination"}));
}

TEST(PeerFails, SinkQemuIsKilledWhenItHasLoaded) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at("loaded", "stop")));
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->receiver().process().wait_until_stopped(seconds(60)));
  scene->sink().process().kill();
  // The engine beside it hears of it only after it goes on, and has Prepared in its hand then: either both notice in
  // time, or the commit comes and cannot be carried out, which the source must call a doubt.
  ASSERT_OK(scene->receiver().process().send_signal(SIGCONT));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  if (sent.code == 1) {
    ASSERT_OK(scene->expect_source_runs({"destination"}));
  } else {
    EXPECT_EQ(sent.code, 3) << scene->sender().errors();
    EXPECT_NE(scene->source().status().value_or("?"), "running");
  }
}

TEST(PeerFails, LinkIsCutWhileCopying) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{1'000'000'000}));
  ASSIGN_OR_SKIP(scene, Scene::make(slow_vm()));
  scene->use(*lab);
  ASSERT_OK(begin_slowly(*scene));
  ASSERT_OK(lab->cut());
  ASSERT_OK(scene->expect_source_runs({"destination", "nothing came|no answer|timed out|lost|dead"}));
}

/// The guest is paused, and the link is gone before the last pages.
TEST(PeerFails, LinkIsCutWhileTheGuestStands) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{1'000'000'000}));
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("stopped", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(lab->cut());
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"destination"}));
}

/// A commit that got lost: nobody can know; the source stays where it is and says so.
TEST(PeerFails, LinkIsCutWhenCommitted) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{1'000'000'000}));
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("committed", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(lab->cut());
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 3) << scene->sender().errors();
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  ASSERT_OK(scene->expect_sink_does_not_run());
}

class SinkEngineKilled : public ::testing::TestWithParam<const char*> {};

TEST_P(SinkEngineKilled, SourceRuns) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at(GetParam(), "kill")));
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"destination"}));
  ASSERT_OK(scene->expect_next_migration_succeeds());
}

const auto name = [](const auto& tested) {
  std::string text = tested.param;
  for (char& c : text) {
    if (c == '-') c = '_';
  }
  return text;
};
INSTANTIATE_TEST_SUITE_P(At, SinkEngineKilled,
                         ::testing::Values("greeted", "welcomed", "mapped", "last-fence", "loaded"), name);

/// Prepared has been said, so the source may have committed, and the sink have let the guest run, before it died.
TEST(SinkEngineKilledWhenPrepared, AtMostOneRuns) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at("prepared", "kill")));
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  if (sent.code == 1) {
    ASSERT_OK(scene->expect_sink_does_not_run());
    ASSERT_OK(scene->expect_source_runs({"destination"}));
  } else {
    EXPECT_TRUE(sent.code == 3 || sent.code == 0) << scene->sender().errors();
    if (sent.code == 0) {
      EXPECT_EQ(scene->sink().status().value_or("?"), "running");
    }
    EXPECT_NE(scene->source().status().value_or("?"), "running");
  }
}

TEST(SinkEngineKilledWhenCommitted, IsADoubt) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at("committed", "kill")));
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 3) << scene->sender().errors();
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_EQ(report.value("outcome", ""), "in-doubt");
}

/// The guest runs at the sink already; only the engines' last words are lost.
TEST(SinkEngineKilledWhenResumed, GuestRunsThereOnly) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at("resumed", "kill")));
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_TRUE(sent.code == 0 || sent.code == 3) << sent.code << scene->sender().errors();
  EXPECT_EQ(scene->sink().status().value_or("?"), "running");
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  ASSERT_OK(expect_guest_works(scene->sink()));
}

// ---- what is said on the wire

/// A server that answers every connection with what is not Godwit's, and reads on until the other side goes.
class GarbageServer {
 public:
  GarbageServer() {
    socket_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(socket_.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any));
    ::listen(socket_.get(), 8);
    socklen_t length = sizeof(any);
    ::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&any), &length);
    port_ = ntohs(any.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~GarbageServer() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string address() const { return "tcp://127.0.0.1:" + std::to_string(port_); }

 private:
  void serve() {
    for (;;) {
      UniqueFd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      const std::string text =
          "HTTP/1.1 400 Bad Request\r\nContent-Length: 4294967295\r\n\r\n" + std::string(65536, '\xff');
      (void)!::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
      char buffer[4096];
      while (::recv(client.get(), buffer, sizeof(buffer), 0) > 0) {
      }
    }
  }
  UniqueFd socket_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

TEST(Garbage, FromTheSinkIsRefused) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  GarbageServer server;
  ASSERT_OK(scene->send_to(server.address()));
  ASSERT_OK(scene->expect_source_runs({"destination"}));
}

TEST(Garbage, NobodyListens) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->send_to("tcp://127.0.0.1:1"));
  ASSERT_OK(scene->expect_source_runs({"127.0.0.1:1", "refused"}));
}

TEST(Garbage, FromAStrangerDoesNotKeepTheSourceOut) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  for (const std::string& text : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(1 << 20, '\xff'), std::string()}) {
    ASSIGN_OR_FAIL(stranger, connect_to(address));
    // The sink may cut the connection in the middle.
    (void)send_bytes(*stranger, bytes_of(text));
  }
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

TEST(WrongSecret, IsRefusedAndDisturbsNothing) {
  ASSIGN_OR_SKIP(scene, Scene::make(slow_vm()));
  ASSERT_OK(begin_slowly(*scene));
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  for (const auto role : {wire::Role::kLane, wire::Role::kControl}) {
    // Once the session is complete nobody need be listening any more, which is a refusal too.
    auto stranger = connect_to(address);
    if (!stranger) continue;
    wire::Greeting greeting;
    greeting.role = role;
    greeting.secret.fill(std::byte{0x5a});
    (void)wire::send_greeting(**stranger, greeting);
    std::byte answer{};
    const Status heard = receive_bytes(**stranger, MutableBytes(&answer, 1), seconds(20));
    EXPECT_FALSE(heard.has_value()) << "a stranger is answered";
  }
  ASSERT_OK(scene->expect_moved());
}

}  // namespace
}  // namespace godwit::testing
