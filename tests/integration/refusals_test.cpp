// What must be refused before anything moves, with a reason that a person can act on.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

TEST(Refusal, RamSizesDiffer) {
  QemuOptions sink = quiet_vm();
  sink.size = 192 * kMiB;
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm(), sink));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"pc.ram", "128|134217728", "192|201326592"}));
}

TEST(Refusal, MachineTypesDiffer) {
  QemuOptions sink = quiet_vm();
  sink.machine = "pc-i440fx-7.1";
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm(), sink));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"pc-i440fx-7.2", "pc-i440fx-7.1"}));
}

TEST(Refusal, CpuModelsDiffer) {
  QemuOptions source = quiet_vm();
  source.cpu_model = "Nehalem";
  QemuOptions sink = quiet_vm();
  sink.cpu_model = "qemu64";
  ASSIGN_OR_SKIP(scene, Scene::make(source, sink));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"Nehalem", "qemu64"}));
}

TEST(Refusal, CpuFeatureIsMissing) {
  QemuOptions source = quiet_vm();
  source.cpu_model = "qemu64,+rdrand";
  QemuOptions sink = quiet_vm();
  sink.cpu_model = "qemu64,-rdrand";
  ASSIGN_OR_SKIP(scene, Scene::make(source, sink));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"feature"}));
}

TEST(Refusal, NumbersOfCpusDiffer) {
  QemuOptions sink = quiet_vm();
  sink.cpus = 2;
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm(), sink));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"CPU"}));
}

/// A sink whose memory cannot hold the guest: found only when the bytes come.
TEST(Refusal, SinkMemoryIsFull) {
  ASSIGN_OR_SKIP(small, TempFolder::make("/tmp"));
  const Status mounted = small.mount("tmpfs", "size=24m");
  if (!mounted && lacks_something(mounted.error())) GTEST_SKIP() << mounted.error().message;
  ASSERT_OK(mounted);
  QemuOptions source = quiet_vm();
  source.guest_line = "work=2M cold=64M:40M stride=64 rate=16000";
  QemuOptions sink = source;
  sink.ram_folder = small.path();
  ASSIGN_OR_SKIP(scene, Scene::make(source, sink));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"destination", "memory|space|full"}));
}

TEST(Refusal, KernelIsTooOld) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  GodwitOptions options;
  options.environment["GODWIT_PRETEND_KERNEL"] = "5.10";
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->sender().wait(seconds(60)));
  scene->receiver().process().kill();
  ASSERT_OK(scene->expect_source_runs({"6.7", "5.10"}));
}

TEST(Refusal, NoPermission) {
  constexpr uid_t kNobody = 65534;
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  // The monitor may be opened by all; the process behind it may not be touched.
  std::filesystem::permissions(scene->source().folder(), std::filesystem::perms(0777));
  std::filesystem::permissions(scene->source().qmp_path(), std::filesystem::perms(0777));
  GodwitOptions options;
  options.user = kNobody;
  ASSERT_OK(scene->send(options));
  ASSIGN_OR_FAIL(ended, scene->sender().wait(seconds(60)));
  if (ended.code == 127 || ended.code == 126) GTEST_SKIP() << "another user cannot reach the program under test";
  scene->receiver().process().kill();
  ASSERT_OK(scene->expect_source_runs({"permi|not allowed", "root|user"}));
}

TEST(Refusal, QemuThatDoesNotWait) {
  QemuOptions options = quiet_vm();
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSIGN_OR_FAIL(receiver, start_receive(scene->source()));
  ASSIGN_OR_FAIL(ended, receiver->wait(seconds(60)));
  EXPECT_EQ(ended.code, 1) << receiver->errors();
  EXPECT_TRUE(says(receiver->errors(), "incoming")) << receiver->errors();
  ASSERT_OK(expect_guest_works(scene->source()));
  ASSERT_OK(scene->expect_nothing_left());
}

/// A second one would write over the guest that the first one takes in.
TEST(Refusal, SecondReceiveAtOneQemu) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  const std::string second_monitor = (folder.path() / "qmp").string();
  QemuOptions sink = quiet_vm();
  sink.more = {"-qmp", "unix:" + second_monitor + ",server=on,wait=off"};
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm(), sink));
  ASSERT_OK(scene->receive());
  // The first one waits, and a moment later it serves.
  for (const bool serves : {false, true}) {
    SCOPED_TRACE(serves);
    if (serves) {
      ASSERT_OK(scene->send(failing_at("copying", "stop")));
      ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
    }
    GodwitOptions second;
    second.arguments = {"receive", "--qmp", second_monitor, "--listen", "tcp://127.0.0.1:0"};
    second.environment["GODWIT_STATE_DIR"] = (scene->sink().folder() / "state").string();
    ASSIGN_OR_FAIL(receiver, TestGodwit::start(second));
    ASSIGN_OR_FAIL(ended, receiver->wait(seconds(20)));
    EXPECT_EQ(ended.code, 1) << receiver->errors();
    EXPECT_TRUE(says(receiver->errors(), "another godwit")) << receiver->errors();
    EXPECT_FALSE(says(receiver->errors(), "listening")) << receiver->errors();
  }
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_moved());
}

/// The usual case: both were given the same monitor.
TEST(Refusal, SecondReceiveAtOneMonitor) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(second, start_receive(scene->sink()));
  ASSIGN_OR_FAIL(ended, second->wait(seconds(60)));
  EXPECT_EQ(ended.code, 1) << second->errors();
  EXPECT_TRUE(says(second->errors(), "another client")) << second->errors();
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

TEST(Refusal, WrongCommandLine) {
  GodwitOptions options;
  options.arguments = {"send", "--max-downtime", "50"};
  ASSIGN_OR_FAIL(godwit, TestGodwit::start(options));
  ASSIGN_OR_FAIL(ended, godwit->wait(seconds(20)));
  EXPECT_EQ(ended.code, 2) << godwit->errors();
}

}  // namespace
}  // namespace godwit::testing
