// The guest has a life of its own while it is moved: it powers off, reboots, panics, suspends itself; its QEMU ends; an
// operator pauses it, or had paused it before. Each is noticed at once and told in words of its own.
#include "tests/integration/kills.h"

namespace godwit::testing {
namespace {

// Where SeaBIOS puts the power management's control register of both machines, and what is written there.
constexpr const char* kPowerOff = "o /2 0x604 0x2000";
constexpr const char* kSuspend = "o /2 0x604 0x2400";
constexpr const char* kPanic = "o /1 0x505 1";

class LifeCycle : public ::testing::TestWithParam<QemuVersion> {
 protected:
  QemuOptions vm(std::vector<std::string> more = {}) const {
    QemuOptions options = quiet_vm();
    options.version = GetParam();
    options.guest_line = "work=256K cold=64M:12M stride=64 rate=4000";
    options.more = std::move(more);
    return options;
  }
  /// Begins a move that would go on for minutes, and waits until memory is being copied.
  void begin(const QemuOptions& options, const std::string& devices = "auto", const std::string& bandwidth = "1Mbit") {
    ASSIGN_OR_SKIP(scene, Scene::make(options));
    scene_ = std::move(scene);
    ASSERT_OK(scene_->receive());
    GodwitOptions slowly = failing_at("copying", "stop");
    slowly.arguments = {"--bandwidth", bandwidth, "--codec", "raw", "--devices", devices};
    ASSERT_OK(scene_->send(slowly));
    ASSERT_OK(scene_->sender().process().wait_until_stopped(seconds(60)));
    ASSERT_OK(scene_->sender().process().send_signal(SIGCONT));
    nap(milliseconds(300));
  }
  /// Both engines end soon, and say what has become of the guest and nothing else.
  void expect_ended(int code, const std::string& outcome, const std::string& words) {
    ASSIGN_OR_FAIL(sent, scene_->sender().wait(seconds(30)));
    const std::string said = scene_->sender().errors();
    EXPECT_EQ(sent.code, code) << said;
    EXPECT_TRUE(says(said, words)) << said;
    for (const char* wrong : {"as it was", "link", "--max-downtime"}) EXPECT_FALSE(says(said, wrong)) << said;
    ASSIGN_OR_FAIL(report, scene_->sender().report());
    EXPECT_EQ(report.value("outcome", ""), outcome);
    ASSIGN_OR_FAIL(received, scene_->receiver().wait(seconds(60)));
    EXPECT_EQ(received.code, code) << scene_->receiver().errors();
    EXPECT_TRUE(says(scene_->receiver().errors(), words)) << scene_->receiver().errors();
    ASSERT_OK(scene_->expect_sink_does_not_run());
    ASSERT_OK(scene_->expect_nothing_left());
  }
  /// All of it is at the destination, in the state in which it was, and works when it is let run; nobody has done so.
  void expect_arrived_paused(const std::string& devices = "direct") {
    ASSIGN_OR_FAIL(sent, scene_->sender().wait(seconds(60)));
    ASSERT_EQ(sent.code, 0) << scene_->sender().errors();
    ASSIGN_OR_FAIL(report, scene_->sender().report());
    EXPECT_EQ(report.value("paused", false), true);
    EXPECT_EQ(report.value("pause_us", -1), 0);
    EXPECT_EQ(report.value("devices", ""), devices);
    ASSIGN_OR_FAIL(received, scene_->receiver().wait(seconds(60)));
    EXPECT_EQ(received.code, 0) << scene_->receiver().errors();
    EXPECT_EQ(scene_->sink().status().value_or("?"), "paused");
    EXPECT_FALSE(scene_->sink().monitor().has_seen("RESUME").value_or(true));
    EXPECT_FALSE(monitor().has_seen("RESUME").value_or(true));
    EXPECT_NE(scene_->source().status().value_or("?"), "running");
    ASSIGN_OR_FAIL(compared, compare_ram(scene_->source(), scene_->sink()));
    EXPECT_TRUE(compared.equal()) << compared.describe();
    ASSERT_OK(scene_->sink().go_on());
    ASSERT_OK(expect_guest_works(scene_->sink()));
    ASSERT_OK(scene_->expect_nothing_left());
  }
  QemuMonitor& monitor() { return scene_->source().monitor(); }
  std::unique_ptr<Scene> scene_;
};

#define BEGIN_OR_RETURN(...) \
  begin(__VA_ARGS__);        \
  if (HasFatalFailure() || IsSkipped()) return

TEST_P(LifeCycle, AGuestThatPowersOffHasShutDown) {
  BEGIN_OR_RETURN(vm());
  (void)monitor().human(kPowerOff);  // QEMU may end before it answers
  expect_ended(5, "guest-ended", "the guest has shut down");
}

TEST_P(LifeCycle, SoHasOneWhoseQemuStays) {
  BEGIN_OR_RETURN(vm({"-no-shutdown"}));
  ASSERT_OK(monitor().human(kPowerOff));
  expect_ended(5, "guest-ended", "the guest has shut down");
  EXPECT_EQ(scene_->source().status().value_or("?"), "shutdown");
}

TEST_P(LifeCycle, AGuestThatPanicsHasEnded) {
  BEGIN_OR_RETURN(vm({"-device", "pvpanic", "-action", "panic=pause"}));
  ASSERT_OK(monitor().human(kPanic));
  expect_ended(5, "guest-ended", "the guest has panicked");
}

TEST_P(LifeCycle, AQemuThatIsKilledHasEnded) {
  BEGIN_OR_RETURN(vm());
  scene_->source().process().kill();
  expect_ended(5, "guest-ended", "QEMU has ended");
}

TEST_P(LifeCycle, AQemuThatIsToldToQuitHasEnded) {
  BEGIN_OR_RETURN(vm());
  (void)monitor().execute("quit");
  expect_ended(5, "guest-ended", "QEMU has been told to quit");
}

/// At 1 Mbit/s that would take minutes: a guest that does not run waits for no budget.
TEST_P(LifeCycle, AGuestThatAnOperatorPausesArrivesPausedAtOnce) {
  for (const char* devices : {"direct", "stream"}) {
    SCOPED_TRACE(devices);
    BEGIN_OR_RETURN(vm(), devices);
    ASSERT_OK(monitor().execute("stop"));
    ASSERT_NO_FATAL_FAILURE(expect_arrived_paused(devices));
    EXPECT_TRUE(says(scene_->sender().errors(), "arrives paused")) << scene_->sender().errors();
  }
}

/// What the engine had done up to its death must not let it run.
TEST_P(LifeCycle, AGuestThatAnOperatorPausesStaysSoWhenTheEngineDies) {
  BEGIN_OR_RETURN(vm());
  ASSERT_OK(monitor().execute("stop"));
  ASSERT_TRUE(wait_until([&] { return says(scene_->sender().errors(), "arrives paused"); }, seconds(30)));
  scene_->sender().process().kill();
  ASSIGN_OR_FAIL(probe, start_probe(scene_->source()));
  ASSERT_OK(probe->wait(seconds(60)));
  EXPECT_NE(scene_->source().status().value_or("?"), "running") << probe->output() << probe->errors();
  EXPECT_FALSE(monitor().has_seen("RESUME").value_or(true));
}

/// He has changed his mind: the guest is not moved paused, and not while it runs as if it were paused.
TEST_P(LifeCycle, AGuestThatIsLetRunAgainStaysAtTheSource) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm()));
  scene_ = std::move(scene);
  ASSERT_OK(scene_->receive());
  ASSERT_OK(scene_->send(failing_at("copying", "stop,handing-over:stop")));
  ASSERT_OK(scene_->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(monitor().execute("stop"));
  ASSERT_OK(scene_->sender().process().send_signal(SIGCONT));
  ASSERT_TRUE(wait_until([&] { return says(scene_->sender().errors(), "arrives paused"); }, seconds(30)));
  ASSERT_OK(scene_->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(monitor().execute("cont"));
  ASSERT_OK(scene_->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene_->expect_source_runs({"let the guest run"}));
}

/// QEMU before 9.0 wakes a guest that it migrates.
TEST_P(LifeCycle, AGuestThatSuspendsItselfArrivesSoWhereQemuKeepsIt) {
  BEGIN_OR_RETURN(vm(), "direct", "20Mbit");
  ASSERT_OK(monitor().human(kSuspend));
  if (GetParam() == QemuVersion::k7_2) {
    expect_ended(6, "guest-paused", "the guest has suspended itself");
    EXPECT_EQ(scene_->source().status().value_or("?"), "suspended");
    return;
  }
  ASSIGN_OR_FAIL(sent, scene_->sender().wait(seconds(120)));
  EXPECT_EQ(sent.code, 0) << scene_->sender().errors();
  EXPECT_EQ(scene_->sink().status().value_or("?"), "suspended");
}

/// By its own stream QEMU 10.0 could not take it back: "invalid runstate transition: 'postmigrate' -> 'suspended'".
TEST_P(LifeCycle, AGuestThatSuspendsItselfStaysWhereOnlyTheStreamIsLeft) {
  BEGIN_OR_RETURN(vm(), "stream");
  ASSERT_OK(monitor().human(kSuspend));
  expect_ended(6, "guest-paused", "the guest has suspended itself");
  EXPECT_EQ(scene_->source().status().value_or("?"), "suspended");
}

/// How a guest that is suspended from the beginning is sent.
class Suspended : public LifeCycle {
 protected:
  void send_suspended(const std::string& devices, const GodwitOptions& receiver = {}) {
    ASSIGN_OR_SKIP(scene, Scene::make(vm()));
    scene_ = std::move(scene);
    ASSERT_OK(monitor().human(kSuspend));
    ASSERT_TRUE(becomes(scene_->source(), "suspended"));
    ASSERT_OK(scene_->receive(receiver));
    GodwitOptions options;
    options.arguments = {"--devices", devices};
    ASSERT_OK(scene_->send(options));
    ASSIGN_OR_FAIL(sent, scene_->sender().wait(seconds(60)));
    code_ = sent.code;
  }
  static bool becomes(TestQemu& qemu, const std::string& status) {
    return wait_until([&] { return qemu.status().value_or("") == status; }, seconds(30));
  }
  void expect_suspended(TestQemu& qemu) {
    EXPECT_EQ(qemu.status().value_or("?"), "suspended") << qemu.errors();
    ASSERT_OK(qemu.monitor().execute("system_wakeup"));
    EXPECT_TRUE(becomes(qemu, "running")) << qemu.errors();
  }
  int code_ = -1;
};

TEST_P(Suspended, ArrivesSoWhereQemuKeepsIt) {
  ASSERT_NO_FATAL_FAILURE(send_suspended("direct"));
  if (IsSkipped()) return;
  const std::string said = scene_->sender().errors();
  if (GetParam() == QemuVersion::k7_2) {
    EXPECT_EQ(code_, 1) << said;
    EXPECT_TRUE(says(said, "QEMU 9.0")) << said;
    return expect_suspended(scene_->source());
  }
  ASSERT_EQ(code_, 0) << said;
  ASSIGN_OR_FAIL(received, scene_->receiver().wait(seconds(60)));
  EXPECT_EQ(received.code, 0) << scene_->receiver().errors();
  EXPECT_NE(scene_->source().status().value_or("?"), "running");
  expect_suspended(scene_->sink());
}

TEST_P(Suspended, StaysWhereOnlyTheStreamIsLeft) {
  ASSERT_NO_FATAL_FAILURE(send_suspended("stream"));
  if (IsSkipped()) return;
  EXPECT_EQ(code_, 1) << scene_->sender().errors();
  EXPECT_TRUE(says(scene_->sender().errors(), "go directly")) << scene_->sender().errors();
  expect_suspended(scene_->source());
}

TEST_P(Suspended, StaysSoIfTheMoveFails) {
  if (GetParam() == QemuVersion::k7_2) GTEST_SKIP() << "this QEMU would wake it";
  ASSERT_NO_FATAL_FAILURE(send_suspended("direct", failing_at("loaded", "kill")));
  if (IsSkipped()) return;
  EXPECT_EQ(code_, 1) << scene_->sender().errors();
  expect_suspended(scene_->source());
}

/// Just before QEMU is asked to stop the guest.
TEST_P(LifeCycle, AGuestThatIsPausedAtTheHandOverArrivesPaused) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm()));
  scene_ = std::move(scene);
  ASSERT_OK(scene_->receive());
  ASSERT_OK(scene_->send(failing_at("handing-over", "stop")));
  ASSERT_OK(scene_->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(monitor().execute("stop"));
  ASSERT_OK(scene_->sender().process().send_signal(SIGCONT));
  expect_arrived_paused();
}

/// The guest has been handed over whole: it runs on at the destination without the QEMU that it came from.
TEST_P(LifeCycle, AGuestOutlivesItsQemuOnceItHasBeenHandedOver) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("prepared", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  scene->source().process().kill();
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 0) << scene->sender().errors();
  EXPECT_EQ(scene->sink().status().value_or("?"), "running");
  ASSERT_OK(expect_guest_works(scene->sink()));
}

TEST_P(LifeCycle, AGuestThatRebootsIsMoved) {
  QemuOptions options = vm();
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  // The harness starts QEMU with -no-reboot. Firmware may reset the machine once more, wherever it runs then.
  for (TestQemu* qemu : {&scene->source(), &scene->sink()}) {
    ASSERT_OK(qemu->monitor().execute("set-action", {{"reboot", "reset"}}));
  }
  ASSERT_OK(scene->receive());
  GodwitOptions slowly = failing_at("copying", "stop");
  slowly.arguments = {"--bandwidth", "100Mbit"};
  ASSERT_OK(scene->send(slowly));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->source().monitor().execute("system_reset"));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(120)));
  EXPECT_EQ(sent.code, 0) << scene->sender().errors();
  EXPECT_EQ(scene->sink().status().value_or("?"), "running");
  // It may be anywhere between its firmware and its work, which begins with a status of zeros.
  ASSERT_OK(wait_for_guest(scene->sink()));
  ASSERT_OK(expect_guest_works(scene->sink()));
}

TEST_P(LifeCycle, AGuestThatHadBeenPausedArrivesPaused) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm()));
  ASSERT_OK(scene->source().stop());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  ASSERT_EQ(sent.code, 0) << scene->sender().errors();
  EXPECT_TRUE(says(scene->sender().errors(), "paused")) << scene->sender().errors();
  ASSIGN_OR_FAIL(received, scene->receiver().wait(seconds(60)));
  EXPECT_EQ(received.code, 0) << scene->receiver().errors();
  EXPECT_EQ(scene->sink().status().value_or("?"), "paused");
  EXPECT_FALSE(scene->sink().monitor().has_seen("RESUME").value_or(true));
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  ASSIGN_OR_FAIL(compared, compare_ram(scene->source(), scene->sink()));
  EXPECT_TRUE(compared.equal()) << compared.describe();
  ASSERT_OK(scene->sink().go_on());
  ASSERT_OK(expect_guest_works(scene->sink()));
  ASSERT_OK(scene->expect_nothing_left());
}

/// QEMU 7.2 aborts when it is told to migrate a VM whose disks it has not activated since that came: the guest is gone.
TEST_P(LifeCycle, AGuestThatArrivedPausedIsNotLostWhenItIsMovedOn) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  const auto image = folder.path() / "disk";
  ASSERT_OK(run_program({"truncate", "-s", "1M", image.string()}));
  QemuOptions options =
      vm({"-drive", "file=" + image.string() + ",if=none,id=d0,format=raw", "-device", "virtio-blk-pci,drive=d0"});
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->source().stop());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  ASSERT_EQ(sent.code, 0) << scene->sender().errors();
  ASSERT_OK(scene->receiver().wait(seconds(60)));
  ASSIGN_OR_FAIL(on, Scene::from(scene->take_sink(), options));
  ASSERT_OK(on->receive());
  ASSERT_OK(on->send());
  ASSIGN_OR_FAIL(sent_on, on->sender().wait(seconds(60)));
  EXPECT_TRUE(on->source().alive()) << on->source().errors();
  if (GetParam() == QemuVersion::k7_2) {
    EXPECT_EQ(sent_on.code, 1) << on->sender().errors();
    EXPECT_TRUE(says(on->sender().errors(), "disk 'd0'")) << on->sender().errors();
    EXPECT_EQ(on->source().status().value_or("?"), "paused");
    on->receiver().process().kill();
    ASSERT_OK(on->source().go_on());
    ASSERT_OK(expect_guest_works(on->source()));
  } else {
    EXPECT_EQ(sent_on.code, 0) << on->sender().errors();
    EXPECT_EQ(on->sink().status().value_or("?"), "paused");
    ASSERT_OK(on->sink().go_on());
    ASSERT_OK(expect_guest_works(on->sink()));
  }
}

TEST_P(LifeCycle, AGuestThatHadBeenPausedAndIsNotMovedStaysPaused) {
  for (const char* milestone : {"mapped", "loaded"}) {
    SCOPED_TRACE(milestone);
    ASSIGN_OR_SKIP(scene, Scene::make(vm()));
    ASSERT_OK(scene->source().stop());
    ASSERT_OK(scene->receive(failing_at(milestone, "kill")));
    ASSERT_OK(scene->send());
    ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
    EXPECT_EQ(sent.code, 1) << scene->sender().errors();
    EXPECT_NE(scene->source().status().value_or("?"), "running");
    EXPECT_FALSE(scene->source().monitor().has_seen("RESUME").value_or(true));
    ASSERT_OK(scene->source().go_on());
    ASSERT_OK(expect_guest_works(scene->source()));
  }
}

/// The engine dies: whoever comes next does not let a guest run that an operator has paused.
TEST_P(LifeCycle, AGuestThatHadBeenPausedStaysSoWhenTheEngineDies) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm()));
  ASSERT_OK(scene->source().stop());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("stopped", "kill")));
  ASSERT_OK(scene->sender().wait(seconds(60)));
  ASSIGN_OR_FAIL(probe, start_probe(scene->source()));
  ASSERT_OK(probe->wait(seconds(60)));
  EXPECT_NE(scene->source().status().value_or("?"), "running") << probe->output() << probe->errors();
  EXPECT_FALSE(scene->source().monitor().has_seen("RESUME").value_or(true));
}

/// QEMU has paused it. Its own stream says so; where devices go directly QEMU calls it "paused" there. Either way
/// `cont` tries the request again, which fails there, too.
TEST_P(LifeCycle, AGuestWithADiskErrorArrivesWithIt) {
  QemuOptions options =
      vm({"-drive",
          "driver=raw,file.driver=blkdebug,file.image.driver=null-co,file.inject-error.0.event=read_aio,"
          "if=ide,rerror=stop"});
  options.guest.clear();
  options.guest_line.clear();
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_TRUE(wait_until([&] { return scene->source().status().value_or("") == "io-error"; }, seconds(60)));
  GodwitOptions any;
  any.arguments = {"--any-disks"};
  ASSERT_OK(scene->receive(any));
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  ASSERT_EQ(sent.code, 0) << scene->sender().errors();
  EXPECT_TRUE(says(scene->sender().errors(), "disk error")) << scene->sender().errors();
  ASSIGN_OR_FAIL(report, scene->sender().report());
  const bool directly = report.value("devices", "") == "direct";
  EXPECT_EQ(scene->sink().status().value_or("?"), directly ? "paused" : "io-error");
  EXPECT_FALSE(scene->sink().monitor().has_seen("RESUME").value_or(true));
  EXPECT_EQ(scene->source().status().value_or("?"), directly ? "io-error" : "postmigrate");
  ASSERT_OK(scene->sink().monitor().execute("cont"));
  EXPECT_TRUE(wait_until([&] { return scene->sink().status().value_or("") == "io-error"; }, seconds(30)));
}

INSTANTIATE_TEST_SUITE_P(Of, Suspended, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });
INSTANTIATE_TEST_SUITE_P(Of, LifeCycle, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

/// The engine dies at each milestone while it moves a paused VM: nobody lets that run, neither QEMU nor the next
/// command.
class PausedAndKilledLong : public ::testing::TestWithParam<Kill> {};

TEST_P(PausedAndKilledLong, StaysPaused) {
  QemuOptions options = quiet_vm();
  options.version = GetParam().version;
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->source().stop());
  const SettingsOfBoth before = settings_of(*scene);
  ASSERT_OK(start_until_killed(*scene, GetParam()));
  ASSIGN_OR_FAIL(said, recover(*scene, GetParam(), before));
  EXPECT_NE(scene->source().status().value_or("?"), "running") << said.source;
  EXPECT_FALSE(scene->source().monitor().has_seen("RESUME").value_or(true));
  ASSERT_OK(scene->expect_sink_does_not_run());
  ASSERT_OK(scene->source().go_on());
  ASSERT_OK(expect_guest_works(scene->source()));
}

INSTANTIATE_TEST_SUITE_P(At, PausedAndKilledLong, ::testing::ValuesIn(kills_of(Side::kSource, "attached", "prepared")),
                         [](const auto& tested) { return name_of(tested.param); });

/// What happens to the guest while the engine is stopped, and what QEMU calls it then.
struct Fate {
  const char* name;
  Status (*comes)(TestQemu&);
  const char* status;
};

Status human(TestQemu& qemu, const char* line) {
  TRY(qemu.monitor().human(line));
  return {};
}

const std::vector<Fate> kFates = {
    {"paused", [](TestQemu& qemu) { return qemu.stop(); }, "paused"},
    {"shut_down", [](TestQemu& qemu) { return human(qemu, kPowerOff); }, "shutdown"},
    {"panicked", [](TestQemu& qemu) { return human(qemu, kPanic); }, "guest-panicked"},
};

class EndedAndKilledLong : public ::testing::TestWithParam<std::tuple<Fate, Kill>> {
 protected:
  void make_scene() {
    const auto& [fate, kill] = GetParam();
    QemuOptions options = quiet_vm();
    options.version = kill.version;
    options.more = {"-no-shutdown", "-device", "pvpanic", "-action", "panic=pause"};
    ASSIGN_OR_SKIP(scene, Scene::make(options));
    scene_ = std::move(scene);
    before_ = settings_of(*scene_);
  }
  void meet_its_fate() {
    const Fate& fate = std::get<0>(GetParam());
    TestQemu& source = scene_->source();
    ASSERT_OK(fate.comes(source));
    ASSERT_TRUE(wait_until([&] { return source.status().value_or("") == fate.status; }, seconds(30)));
  }
  /// Neither QEMU nor any command has let it run, anywhere.
  void expect_at_rest(const std::string& text) {
    EXPECT_NE(scene_->source().status().value_or("?"), "running") << text;
    EXPECT_FALSE(scene_->source().monitor().has_seen("RESUME").value_or(true)) << text;
    ASSERT_OK(scene_->expect_sink_does_not_run());
    ASSERT_OK(scene_->expect_nothing_left());
    if (std::string(std::get<0>(GetParam()).name) != "paused") return;
    ASSERT_OK(scene_->source().go_on());
    ASSERT_OK(expect_guest_works(scene_->source()));
  }
  std::unique_ptr<Scene> scene_;
  SettingsOfBoth before_;
};

TEST_P(EndedAndKilledLong, StaysAsItIs) {
  const auto& [fate, kill] = GetParam();
  make_scene();
  if (!scene_) return;
  ASSERT_OK(stop_engine(*scene_, kill));
  ASSERT_NO_FATAL_FAILURE(meet_its_fate());
  ASSERT_OK(kill_engine(*scene_, kill));
  ASSIGN_OR_FAIL(said, recover(*scene_, kill, before_));
  EXPECT_EQ(scene_->source().status().value_or("?"), fate.status) << said.source;
  ASSERT_NO_FATAL_FAILURE(expect_at_rest(said.source));
}

const auto fate_and_kill = [](const auto& tested) {
  return std::string(std::get<0>(tested.param).name) + "_" + name_of(std::get<1>(tested.param));
};
INSTANTIATE_TEST_SUITE_P(Source, EndedAndKilledLong,
                         ::testing::Combine(::testing::ValuesIn(kFates),
                                            ::testing::ValuesIn(kills_of(Side::kSource, "attached", "handing-over"))),
                         fate_and_kill);
INSTANTIATE_TEST_SUITE_P(Sink, EndedAndKilledLong,
                         ::testing::Combine(::testing::ValuesIn(kFates),
                                            ::testing::ValuesIn(kills_of(Side::kSink, "greeted", "mapped"))),
                         fate_and_kill);

/// It has ended when the engine is about to ask QEMU to migrate, and the engine is killed on its way from there. It may
/// have noticed before it comes to the milestone; then it ends by itself.
class EndedInTheHandOverLong : public EndedAndKilledLong {};

TEST_P(EndedInTheHandOverLong, StaysAsItIs) {
  const auto& [fate, kill] = GetParam();
  make_scene();
  if (!scene_) return;
  ASSERT_OK(scene_->receive());
  ASSERT_OK(scene_->send(failing_at("handing-over", "stop," + kill.milestone + ":kill")));
  ASSERT_OK(scene_->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_NO_FATAL_FAILURE(meet_its_fate());
  ASSERT_OK(scene_->sender().process().send_signal(SIGCONT));
  ASSIGN_OR_FAIL(ended, scene_->sender().wait(seconds(60)));
  RecordProperty("killed", ended.signal == SIGKILL);
  EXPECT_TRUE(ended.signal == SIGKILL || ended.code == 5 || ended.code == 6) << scene_->sender().errors();
  ASSERT_OK(scene_->expect_receiver_ends());
  ASSIGN_OR_FAIL(text, probe(scene_->source()));
  EXPECT_EQ(settings_of(scene_->source()), before_.source) << text;
  ASSERT_NO_FATAL_FAILURE(expect_at_rest(text));
}

INSTANTIATE_TEST_SUITE_P(Source, EndedInTheHandOverLong,
                         ::testing::Combine(::testing::ValuesIn(kFates),
                                            ::testing::ValuesIn(kills_of(Side::kSource, "stopped", "prepared"))),
                         fate_and_kill);

}  // namespace
}  // namespace godwit::testing
