// Networks as they are: a name one of whose addresses does not answer, a firewall that lets some connections through
// only, a path that swallows large packets.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fstream>
#include <iostream>
#include <thread>

#include "net/channel.h"
#include "tests/integration/scene.h"
#include "tests/support/relay.h"
#include "tests/support/ssh_server.h"

namespace godwit::testing {
namespace {

/// An address of this machine at which nobody answers: its queue of connections is full, so the kernel drops what
/// comes.
class SilentV6 {
 public:
  static Result<std::unique_ptr<SilentV6>> at(std::uint16_t port) {
    auto silent = std::make_unique<SilentV6>();
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    address.sin6_port = htons(port);
    silent->socket_ = UniqueFd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!silent->socket_ || ::bind(silent->socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(silent->socket_.get(), 0) != 0) {
      return fail(ErrorKind::kUnsupported, "this host has no ::1");
    }
    const Address place{.kind = Address::Kind::kTcp, .host = "::1", .port = port, .path = {}};
    while (auto filler = connect_to(place, {.connect_timeout = milliseconds(300)})) {
      silent->fillers_.push_back(std::move(*filler));
      if (silent->fillers_.size() > 20) return fail(ErrorKind::kIo, "20 connections fit into a backlog of 0");
    }
    return silent;
  }

 private:
  UniqueFd socket_;
  std::vector<std::unique_ptr<Channel>> fillers_;
};

TEST(DeadAddress, OfANameCostsNoTimeout) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a process names of its own";
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  ASSIGN_OR_SKIP(silent, SilentV6::at(address.port));
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  GodwitOptions options;
  options.hosts = folder.path() / "hosts";
  std::ofstream(options.hosts) << "::1 destination.example\n127.0.0.1 destination.example\n";
  // Each lane would wait for the dead address, too.
  options.arguments = {"--lanes", "4", "--insecure-plain"};
  ASSERT_OK(scene->send_to("tcp://destination.example:" + std::to_string(address.port), options));
  ASSERT_OK(scene->expect_moved());
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_EQ(report.value("lanes", 0), 4);
}

TEST(DeadAddress, IsNamedWhereNoOtherAnswers) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(port_holder, listen_on(parse_address("tcp://127.0.0.1:0").value()));
  const auto port = port_holder->address().port;
  ASSIGN_OR_SKIP(silent, SilentV6::at(port));
  ASSERT_OK(scene->send_to("tcp://[::1]:" + std::to_string(port)));
  ASSERT_OK(scene->expect_source_runs({"::1: no answer", "check the link"}));
  EXPECT_FALSE(says(scene->sender().errors(), "max-downtime")) << scene->sender().errors();
}

void move_with_lanes_refused(QemuVersion version) {
  QemuOptions vm = quiet_vm();
  vm.version = version;
  ASSIGN_OR_SKIP(scene, Scene::make(vm));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  Relay firewall(address, 3);
  GodwitOptions options;
  options.arguments = {"--lanes", "4"};
  ASSERT_OK(scene->send_to(firewall.address(), options));
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->sender().errors(), "2 of 4 lanes")) << scene->sender().errors();
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_EQ(report.value("lanes", 0), 2);
}

TEST(RefusedLanes, TheMoveGoesOnWithTheOthers) {
  move_with_lanes_refused(QemuVersion::k7_2);
}

TEST(RefusedLanes, TheMoveGoesOnWithTheOthersOnQemu10) {
  move_with_lanes_refused(QemuVersion::k10_0);
}

TEST(RefusedLanes, AreSaidWhereNoneIsLeft) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  Relay firewall(address, 1);
  ASSERT_OK(scene->send_to(firewall.address()));
  ASSERT_OK(scene->expect_source_runs({"lane", "check the link"}));
}

/// The hosts believe in 1500 bytes, and something between them does not.
TEST(SmallMtu, IsNamed) {
  ASSIGN_OR_SKIP(lab, NetLab::make());
  ASSERT_OK(lab->lose_packets_above(1300));
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"check the MTU", "large packets do not arrive"}));
  EXPECT_FALSE(says(scene->sender().errors(), "max-downtime")) << scene->sender().errors();
}

/// A link that is cut is not a question of packets' sizes.
TEST(SmallMtu, IsNotBlamedForALinkThatIsCut) {
  ASSIGN_OR_SKIP(lab, NetLab::make());
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("connected", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(lab->cut());
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"destination", "check the link"}));
  EXPECT_FALSE(says(scene->sender().errors(), "MTU")) << scene->sender().errors();
  EXPECT_FALSE(says(scene->sender().errors(), "max-downtime")) << scene->sender().errors();
}

/// `ssh -N -L` from the source's host to a port of the sink's.
class SshTunnel {
 public:
  static constexpr const char* kNear = "127.0.0.1:4444";
  static Result<std::unique_ptr<SshTunnel>> make(const NetLab& lab, const std::string& far) {
    auto tunnel = std::unique_ptr<SshTunnel>(new SshTunnel);
    tunnel->server_ = TRY(SshServer::start(NetLab::sink_address(), lab.sink()));
    tunnel->folder_ = TRY(TempFolder::make("/tmp"));
    auto command = tunnel->server_->client();
    command.insert(command.end(), {"-v", "-N", "-p", SshServer::port(), "-o", "ExitOnForwardFailure=yes", "-L",
                                   std::string(kNear) + ":" + far, "root@" + NetLab::sink_address()});
    tunnel->client_ = TRY(ChildProcess::start({.command = std::move(command),
                                               .output = tunnel->folder_.path() / "client.out",
                                               .errors = tunnel->folder_.path() / "client.err",
                                               .network_namespace = lab.source()}));
    TRY_IN(tunnel->server_->errors(),
           tunnel->client_->wait_for_error_line("Entering interactive session", seconds(20)));
    return tunnel;
  }

 private:
  SshTunnel() = default;
  TempFolder folder_;
  std::unique_ptr<SshServer> server_;
  std::unique_ptr<ChildProcess> client_;  ///< ends before the server
};

/// Control and lanes by way of a tunnel whose near socket takes all at once; the link behind it is slow.
class SshTunnelLong : public ::testing::TestWithParam<QemuVersion> {
 protected:
  void move(const std::string& codec, Json& report) {
    ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{100'000'000}));
    QemuOptions options = quiet_vm();
    options.version = GetParam();
    options.guest_line = "work=256K cold=64M:40M stride=64 rate=500";  // compresses well
    ASSIGN_OR_SKIP(scene, Scene::make(options));
    scene->use(*lab);
    ASSERT_OK(scene->receive());
    ASSIGN_OR_SKIP(tunnel, SshTunnel::make(*lab, scene->address().substr(std::string("tcp://").size())));
    GodwitOptions godwit;
    godwit.arguments = {"--codec", codec, "--lanes", "2"};
    ASSERT_OK(scene->send_to(std::string("tcp://") + SshTunnel::kNear, godwit));
    ASSERT_OK(scene->expect_moved());
    ASSIGN_OR_FAIL(found, scene->sender().report());
    report = found;
  }
};

TEST_P(SshTunnelLong, CarriesAMoveAndTheSlowLinkBehindItIsSeen) {
  Json raw;
  ASSERT_NO_FATAL_FAILURE(move("raw", raw));
  if (raw.empty()) return;
  Json chosen;
  ASSERT_NO_FATAL_FAILURE(move("auto", chosen));
  const auto bytes = [](const Json& report) { return report.value("bytes_lanes", std::uint64_t{0}); };
  EXPECT_GT(bytes(raw), 0U) << raw;
  std::cout << "lanes: raw " << bytes(raw) << " bytes, auto " << bytes(chosen) << "; codecs "
            << chosen.value("codecs", Json()) << "\n";
  // To a link that takes everything at once blocks would go raw.
  EXPECT_LT(bytes(chosen), bytes(raw) * 9 / 10) << chosen;
}

INSTANTIATE_TEST_SUITE_P(Qemu, SshTunnelLong, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
