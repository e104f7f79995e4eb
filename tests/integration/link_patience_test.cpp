// The link is lost while memory is copied, and comes back: the move goes on, and the guest finds all that it wrote.
#include <csignal>
#include <random>

#include "tests/integration/scene.h"
#include "tests/support/cutting_relay.h"
#include "tests/support/temp_key.h"

namespace godwit::testing {
namespace {

/// Some 12 MiB of cold memory, and some that is written all the time, in part: deltas are made of it.
QemuOptions busy_vm(Ram ram) {
  QemuOptions options = quiet_vm();
  options.ram = ram;
  options.guest_line = "work=256K cold=64M:12M stride=64 rate=4000";
  return options;
}

struct Kind {
  const char* name;
  Ram ram;
  bool certificates = false;  ///< instead of a shared key
};

/// Options by which both sides trust one another.
Result<std::vector<std::string>> trust_in(const std::string& folder, bool certificates) {
  if (!certificates) return std::vector<std::string>{"--tls-psk", key_file_in(folder)};
  GodwitOptions options;
  options.arguments = {"keygen", "--dir", folder + "/ca", "--host", "both,127.0.0.1"};
  const auto made = TRY(TestGodwit::start(options));
  const auto ended = TRY(made->wait(seconds(60)));
  if (ended.code != 0) return fail(ErrorKind::kIo, made->errors());
  return std::vector<std::string>{"--tls-dir", folder + "/ca/both"};
}

class LinkPatience : public ::testing::TestWithParam<Kind> {
 protected:
  /// Begins a move through `relay_`, encrypted, that lasts for some seconds.
  void begin(const std::string& patience, const std::string& bandwidth = "40Mbit") {
    ASSIGN_OR_SKIP(scene, Scene::make(busy_vm(GetParam().ram)));
    scene_ = std::move(scene);
    ASSIGN_OR_FAIL(key, trust_in(scene_->source().folder(), GetParam().certificates));
    GodwitOptions receive;
    receive.arguments = key;
    ASSERT_OK(scene_->receive(receive));
    ASSIGN_OR_FAIL(address, parse_address(scene_->address()));
    relay_.emplace(address);
    GodwitOptions send = failing_at("copying", "stop");
    send.arguments = {"--bandwidth", bandwidth, "--codec", "raw", "--max-downtime", "1s", "--link-patience", patience};
    send.arguments.insert(send.arguments.end(), key.begin(), key.end());
    ASSERT_OK(scene_->send_to(format_address(relay_->address()), send));
    ASSERT_OK(scene_->sender().process().wait_until_stopped(seconds(60)));
    ASSERT_OK(scene_->sender().process().send_signal(SIGCONT));
    nap(milliseconds(300));
  }
  void cut() {
    relay_->let_through(false);
    relay_->cut();
  }

  std::unique_ptr<Scene> scene_;
  std::optional<CuttingRelay> relay_;
};

TEST_P(LinkPatience, AnOutageIsRiddenOut) {
  begin("30s");
  if (HasFatalFailure() || IsSkipped()) return;
  cut();
  nap(seconds(3));
  relay_->let_through(true);
  ASSERT_OK(scene_->expect_moved());
  ASSERT_OK(scene_->expect_some("outages"));
  EXPECT_TRUE(says(scene_->sender().errors(), "the link is back after")) << scene_->sender().errors();
  EXPECT_TRUE(says(scene_->receiver().errors(), "the source is back after")) << scene_->receiver().errors();
}

TEST_P(LinkPatience, ALinkThatStaysAwayLeavesTheGuestAtTheSource) {
  begin("2s");
  if (HasFatalFailure() || IsSkipped()) return;
  cut();
  ASSERT_OK(scene_->expect_source_runs({"the link has not come back within 2 s"}));
}

TEST_P(LinkPatience, WhyTheDestinationGaveUpMeanwhileIsToldOnceTheLinkIsBack) {
  begin("30s");
  if (HasFatalFailure() || IsSkipped()) return;
  cut();
  ASSERT_TRUE(
      wait_until([&] { return says(scene_->receiver().errors(), "the link to the source is lost"); }, seconds(60)))
      << scene_->receiver().errors();
  scene_->sink().process().kill();
  ASSERT_TRUE(wait_until([&] { return says(scene_->receiver().errors(), "given up here"); }, seconds(60)))
      << scene_->receiver().errors();
  relay_->let_through(true);
  ASSERT_OK(scene_->expect_source_runs({"does not take this side back: it has given up", "QEMU"}));
}

TEST_P(LinkPatience, ASourceThatIsInterruptedMeanwhileEndsAtOnce) {
  begin("600s");
  if (HasFatalFailure() || IsSkipped()) return;
  cut();
  ASSERT_TRUE(
      wait_until([&] { return says(scene_->sender().errors(), "the link to the destination is lost"); }, seconds(60)))
      << scene_->sender().errors();
  ASSERT_OK(scene_->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene_->sender().wait(seconds(60)));
  ASSERT_OK(scene_->receiver().process().send_signal(SIGINT));
  ASSERT_OK(scene_->expect_source_runs({"cancelled by the operator"}));
}

INSTANTIATE_TEST_SUITE_P(Of, LinkPatience,
                         ::testing::Values(Kind{"private", Ram::kPrivate}, Kind{"memfd", Ram::kMemfd},
                                           Kind{"certificates", Ram::kMemfd, true}),
                         [](const auto& kind) { return std::string(kind.param.name); });

/// The key that lanes go by is a minute old at most: after that certificates are shown again.
class LinkPatienceOfCertificatesLong : public LinkPatience {};

TEST_P(LinkPatienceOfCertificatesLong, ASourceComesBackLongAfterItsFirstConnection) {
  begin("30s", "1Mbit");
  if (HasFatalFailure() || IsSkipped()) return;
  nap(seconds(65));
  cut();
  nap(seconds(2));
  relay_->let_through(true);
  ASSERT_TRUE(wait_until([&] { return says(scene_->sender().errors(), "the link is back after"); }, seconds(30)))
      << scene_->sender().errors();
  nap(seconds(3));
  ASSERT_OK(scene_->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene_->expect_source_runs({"cancelled by the operator"}));
}

INSTANTIATE_TEST_SUITE_P(Of, LinkPatienceOfCertificatesLong, ::testing::Values(Kind{"certificates", Ram::kMemfd, true}),
                         [](const auto& kind) { return std::string(kind.param.name); });

/// Cables are pulled, for 2 to 25 s, ten times: some of it TCP makes good by itself, none of it ends the move.
class LinkPatienceLong : public ::testing::TestWithParam<Kind> {};

TEST_P(LinkPatienceLong, TenCutsDoNotEndAMove) {
  ASSIGN_OR_SKIP(lab, NetLab::make());
  ASSIGN_OR_SKIP(scene, Scene::make(busy_vm(GetParam().ram)));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  const std::string socket = folder.path() / "control";
  GodwitOptions slowly;
  slowly.arguments = {"--bandwidth", "1Mbit", "--codec", "raw", "--control", socket, "--link-patience", "40s"};
  ASSERT_OK(scene->send(slowly));
  const auto control = [&](std::vector<std::string> words) {
    GodwitOptions options;
    options.arguments = {"control", socket};
    options.arguments.insert(options.arguments.end(), words.begin(), words.end());
    const auto asked = TestGodwit::start(options);
    return asked && (*asked)->wait(seconds(60)) ? (*asked)->output() : std::string();
  };
  ASSERT_TRUE(wait_until([&] { return says(control({"status"}), "copying"); }, seconds(60)))
      << scene->sender().errors();
  std::mt19937 random(::testing::UnitTest::GetInstance()->random_seed());
  for (int i = 0; i < 10; ++i) {
    const milliseconds lasts(2000 + random() % 23'000);
    const milliseconds before(500 + random() % 4000);
    SCOPED_TRACE(std::to_string(i) + ": " + std::to_string(lasts.count()) + " ms");
    nap(before);
    ASSERT_OK(lab->cut());
    nap(lasts);
    ASSERT_OK(lab->repair());
    const auto goes_on = [&] {
      const std::string all = scene->sender().errors();
      return all.rfind("the link is back") != std::string::npos
                 ? all.rfind("the link is back") > all.rfind("the link to the destination is lost")
                 : all.find("the link to the destination is lost") == std::string::npos;
    };
    nap(seconds(1));
    ASSERT_TRUE(wait_until(goes_on, seconds(40))) << scene->sender().errors() << scene->receiver().errors();
    ASSERT_TRUE(scene->sender().process().alive()) << scene->sender().errors();
  }
  control({"set", "max-downtime", "2s"});
  control({"set", "bandwidth", "none"});
  ASSERT_OK(scene->expect_moved());
  std::cout << scene->sender().errors();
}

INSTANTIATE_TEST_SUITE_P(Of, LinkPatienceLong,
                         ::testing::Values(Kind{"private", Ram::kPrivate}, Kind{"memfd", Ram::kMemfd}),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace godwit::testing
