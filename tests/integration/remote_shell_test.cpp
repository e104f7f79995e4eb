// `godwit send --to ssh://...` by way of a remote shell that is a script here: what the far side does and says at every
// end that a move can have. What only an sshd can show is in ssh_test.cpp.
#include <csignal>
#include <fstream>

#include "tests/integration/far_side.h"

namespace godwit::testing {
namespace {

TEST(RemoteShell, StartsTheFarSideAndBringsItsReport) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
  ASSERT_OK(send_by_script(*scene, *far));
  ASSERT_OK(scene->expect_moved());
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_TRUE(says(report.value("security", ""), "shared key 'handed-over-by-ssh'")) << report;
  ASSERT_TRUE(report.at("receiver").is_object()) << report;
  EXPECT_EQ(report.at("receiver").value("outcome", ""), "done");
  EXPECT_EQ(report.at("receiver").value("id", "a"), report.value("id", "b"));
  EXPECT_TRUE(says(scene->sender().errors(), "destination: outcome")) << scene->sender().errors();
}

TEST(RemoteShell, HandsOverTheKeyInSecret) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink(), "listening:stop"));
  ASSERT_OK(send_by_script(*scene, *far, failing_at("attached", "stop")));
  ASSERT_OK(far->wait_until_stopped());
  // Neither on a command line nor in an environment, on either side.
  for (const pid_t pid : {far->pid(), scene->sender().process().pid()}) {
    for (const char* file : {"/cmdline", "/environ"}) {
      const std::string text = read_text("/proc/" + std::to_string(pid) + file);
      EXPECT_FALSE(text.empty());
      EXPECT_FALSE(says(text, "handed-over-by-ssh")) << text;
    }
  }
  ASSERT_OK(far->signal(SIGCONT));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_moved());
}

// With --ssh-data, by a remote shell that knows nothing of ssh's options.
TEST(RemoteShellData, CarriesTheMove) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
  ASSERT_OK(send_data_by_script(*scene, *far));
  ASSERT_OK(scene->expect_moved());
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_TRUE(says(report.value("security", ""), "shared key 'handed-over-by-ssh'")) << report;
  EXPECT_EQ(report.at("receiver").value("outcome", ""), "done");
}

/// The operator's limit holds there, too, and the move takes the time that it says.
TEST(RemoteShellData, KeepsToTheBandwidth) {
  QemuOptions vm = quiet_vm();
  vm.guest_line = "work=256K cold=64M:8M stride=64 rate=1000";
  ASSIGN_OR_SKIP(scene, Scene::make(vm));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
  GodwitOptions options;
  options.arguments = {"--bandwidth", "40Mbit", "--codec", "raw", "--max-downtime", "500ms"};
  ASSERT_OK(send_data_by_script(*scene, *far, options));
  ASSERT_OK(scene->expect_moved());
  ASSIGN_OR_FAIL(report, scene->sender().report());
  const double bytes = report.value("bytes_lanes", 0.0);
  EXPECT_GT(bytes, 8.0 * kMiB) << report;
  EXPECT_LT(bytes * 8 / report.value("total_us", 1.0), 40 * 1.05) << "bits in a microsecond: " << report;
}

/// An option of `receive` that the near side has been given.
TEST(RemoteShellData, PassesOnWhatIsForTheReceiver) {
  QemuOptions vm = quiet_vm(), other = quiet_vm();
  vm.more = {"-name", "one"};
  other.more = {"-name", "another"};
  ASSIGN_OR_SKIP(scene, Scene::make(vm, other));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
  GodwitOptions options;
  options.arguments = {"--any-vm", "--any-disks", "--start-timeout", "30s"};
  ASSERT_OK(send_data_by_script(*scene, *far, options));
  ASSERT_OK(scene->expect_moved());
}

// What keeps a move from beginning: one clear sentence, and the VM is where it was.
class RemoteShellRefused : public ::testing::Test {
 protected:
  void expect(const std::vector<std::string>& words, const std::function<Status(Scene&, const FarSide&)>& send) {
    ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
    ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
    ASSERT_OK(send(*scene, *far));
    ASSERT_OK(scene->expect_source_runs(words));
    EXPECT_FALSE(far->alive());
    std::cout << scene->sender().errors();
  }
};

TEST_F(RemoteShellRefused, WhereNoQemuIs) {
  expect({"destination: ", "no such file", "on the side that it names"},
         [](Scene& scene, const FarSide& far) { return send_by_script(scene, far, {}, "/no/such.qmp"); });
}

TEST_F(RemoteShellRefused, WhereQemuDoesNotWait) {
  expect({"destination: ", "-incoming defer"}, [](Scene& scene, const FarSide& far) -> Status {
    QemuOptions running = quiet_vm();
    static std::unique_ptr<TestQemu> other;
    other = TRY(TestQemu::start(running));
    const Status sent = send_by_script(scene, far, {}, other->qmp_path().string());
    (void)scene.sender().wait(seconds(60));
    other.reset();
    return sent;
  });
}

TEST_F(RemoteShellRefused, WhereNoGodwitIs) {
  expect({"/no/godwit was not found on destination", "install godwit there", "--remote-godwit"},
         [](Scene& scene, const FarSide& far) {
           GodwitOptions options;
           options.arguments = {"--rsh", far.shell().string(), "--remote-godwit", "/no/godwit"};
           return scene.send_to("ssh://destination/q", options);
         });
}

TEST_F(RemoteShellRefused, WhereAnotherVersionIs) {
  expect({"does not know `receive --over-ssh`", "install godwit", "unknown option"},
         [](Scene& scene, const FarSide& far) {
           std::ofstream(far.program()) << "#!/bin/sh\necho \"godwit receive: unknown option '--over-ssh'; see godwit "
                                           "receive --help\" >&2\nexit 2\n";
           return send_by_script(scene, far);
         });
}

TEST_F(RemoteShellRefused, WhereSshFails) {
  expect({"rsh to destination failed: Permission denied (publickey)"}, [](Scene& scene, const FarSide& far) {
    std::ofstream(far.shell()) << "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n";
    return send_by_script(scene, far);
  });
}

TEST_F(RemoteShellRefused, WhereNothingSaysByWhichAddressToListen) {
  expect({"SSH_CONNECTION", "--via"}, [](Scene& scene, const FarSide& far) {
    GodwitOptions options;
    options.arguments = {"--rsh", far.shell().string(), "--remote-godwit", far.program().string()};
    return scene.send_to("ssh://destination" + scene.sink().qmp_path().string(), options);
  });
}

TEST_F(RemoteShellRefused, WhereTheAddressIsNotThatHosts) {
  expect({"destination: ", "192.0.2.77"}, [](Scene& scene, const FarSide& far) {
    GodwitOptions options;
    options.arguments = {"--rsh", far.shell().string(), "--remote-godwit", far.program().string(),
                         "--via", "192.0.2.77"};
    return scene.send_to("ssh://destination" + scene.sink().qmp_path().string(), options);
  });
}

// The near side is stopped at a milestone, told to end, and goes on.
class CancelledOverSsh : public ::testing::TestWithParam<const char*> {};

TEST_P(CancelledOverSsh, EndsBoth) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
  ASSERT_OK(send_by_script(*scene, *far, failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"cancelled by the operator"}));
  EXPECT_FALSE(far->alive());
}

const auto milestone_name = [](const auto& tested) {
  std::string text = tested.param;
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
};
INSTANTIATE_TEST_SUITE_P(At, CancelledOverSsh,
                         ::testing::Values("attached", "connected", "copying", "handing-over", "devices-sent"),
                         milestone_name);

// The near side dies: its far side ends by itself, and the next command finds the guest.
class NearSideKilled : public ::testing::TestWithParam<const char*> {};

TEST_P(NearSideKilled, EndsTheFarSide) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
  ASSERT_OK(send_by_script(*scene, *far, failing_at(GetParam(), "kill")));
  ASSERT_OK(scene->expect_probe_revives());
  ASSERT_OK(far->wait_for_end());
}

INSTANTIATE_TEST_SUITE_P(At, NearSideKilled, ::testing::Values("attached", "welcomed", "copying", "prepared"),
                         milestone_name);

// The far side dies before anything is committed.
class FarSideKilled : public ::testing::TestWithParam<const char*> {};

TEST_P(FarSideKilled, LeavesTheGuestHere) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink(), std::string(GetParam()) + ":kill"));
  ASSERT_OK(send_by_script(*scene, *far));
  ASSERT_OK(scene->expect_source_runs({"Not moved"}));
}

INSTANTIATE_TEST_SUITE_P(At, FarSideKilled, ::testing::Values("listening", "greeted", "welcomed", "loaded"),
                         milestone_name);

/// Killed once it alone may run the guest: in doubt here, and the guest is paused in the QEMU there.
TEST(FarSideKilledAfterCommit, IsInDoubtAndRunsNowhere) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink(), "committed:kill"));
  ASSERT_OK(send_by_script(*scene, *far));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 3) << scene->sender().errors();
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_TRUE(report.at("receiver").is_null());
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  EXPECT_NE(scene->sink().status().value_or("?"), "running");
  // As the operator is told to do.
  ASSERT_OK(scene->sink().go_on());
  ASSERT_OK(expect_guest_works(scene->sink()));
  ASSERT_OK(scene->expect_nothing_left());
}

}  // namespace
}  // namespace godwit::testing
