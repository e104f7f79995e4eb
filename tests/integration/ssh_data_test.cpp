// `godwit send --to ssh://... --ssh-data`: the move itself goes through ssh, to a far side that has no network at all.
// Then a broken ssh is a broken network, too: whatever is cut when, the guest runs in one place or is paused in both,
// the exit code says which, and no process, socket or folder is left behind at either side.
#include <fmt/format.h>
#include <signal.h>

#include <fstream>
#include <iostream>

#include "tests/integration/ssh_scene.h"

namespace godwit::testing {
namespace {

Result<SshScene> data_scene(const std::string& far_failpoint = "", std::unique_ptr<TestQemu> source = nullptr) {
  return SshScene::make(SshScene::Options{.far_failpoint = far_failpoint, .source = std::move(source), .data = true});
}

TEST(SshData, GoesWhereNothingButSshDoes) {
  ASSIGN_OR_SKIP(ssh, data_scene());
  ASSERT_OK(ssh.send());
  ASSERT_OK(ssh.scene->expect_moved());
  ASSERT_OK(ssh.expect_no_session());
  ASSIGN_OR_FAIL(report, ssh.scene->sender().report());
  EXPECT_EQ(report.at("receiver").value("outcome", ""), "done") << report;
  EXPECT_EQ(report.value("lanes", 0), 2) << report;
  // Who may run a program there is not who may give it a guest.
  EXPECT_TRUE(says(report.value("security", ""), "handed-over-by-ssh")) << report;
  // One login, whoever asks for its password.
  const std::string log = ssh.server->errors();
  const std::string accepted = "Accepted publickey";
  const auto first = log.find(accepted);
  ASSERT_NE(first, std::string::npos) << log;
  EXPECT_EQ(log.find(accepted, first + 1), std::string::npos) << log;
}

/// The same host without it: the address that ssh has come by is nobody's there.
TEST(SshData, IsNeededThere) {
  ASSIGN_OR_SKIP(ssh, SshScene::make());
  GodwitOptions options;
  options.arguments = {"--remote-godwit", "unshare -n " + ssh.far->program().string(), "--rsh",
                       fmt::format("{}", fmt::join(ssh.server->client(), " "))};
  ASSERT_OK(ssh.scene->send_to("ssh://root@192.0.2.2:2222" + ssh.scene->sink().qmp_path().string(), options));
  ASSERT_OK(ssh.scene->expect_source_runs({"192.0.2.2: Connection refused|192.0.2.2: Cannot assign"}));
  ASSERT_OK(ssh.expect_no_session());
}

/// More than sshd lets through one login: ssh logs in once more.
TEST(SshData, GoesPastTheSessionsOfOneLogin) {
  ASSIGN_OR_SKIP(ssh, data_scene());
  GodwitOptions options;
  options.arguments = {"--lanes", "8"};
  ASSERT_OK(ssh.send(options));
  ASSERT_OK(ssh.scene->expect_moved());
  ASSERT_OK(ssh.expect_no_session());
  ASSIGN_OR_FAIL(report, ssh.scene->sender().report());
  EXPECT_EQ(report.value("lanes", 0), 8) << ssh.scene->sender().errors() << ssh.server->errors();
}

/// As the operator of that ssh may have it: each connection logs in.
TEST(SshData, GoesByLoginsOfItsOwn) {
  ASSIGN_OR_SKIP(ssh, data_scene());
  auto client = ssh.server->client();
  client.insert(client.end(), {"-o", "ControlPath=none"});
  ASSERT_OK(ssh.send({}, client));
  ASSERT_OK(ssh.scene->expect_moved());
  ASSERT_OK(ssh.expect_no_session());
}

class SshDataCtrlCLong : public ::testing::TestWithParam<const char*> {};

TEST_P(SshDataCtrlCLong, EndsBothSides) {
  ASSIGN_OR_SKIP(ssh, data_scene());
  ASSERT_OK(ssh.send(failing_at(GetParam(), "stop")));
  ASSERT_OK(ssh.scene->sender().process().wait_until_stopped(seconds(60)));
  ssh.press_ctrl_c();
  ::kill(ssh.sender(), SIGCONT);
  ASSERT_OK(ssh.scene->expect_source_runs({"cancelled by the operator"}));
  ASSERT_OK(ssh.expect_no_session());
  ASSIGN_OR_FAIL(report, ssh.scene->sender().report());
  EXPECT_TRUE(report.at("receiver").is_object()) << ssh.scene->sender().errors();
}

INSTANTIATE_TEST_SUITE_P(At, SshDataCtrlCLong, ::testing::Values("attached", "connected", "copying", "stopped"),
                         moment_name);

class SshDataCutBeforeLong : public ::testing::TestWithParam<const char*> {};

TEST_P(SshDataCutBeforeLong, LeavesTheGuestHere) {
  std::unique_ptr<TestQemu> source;
  {
    ASSIGN_OR_SKIP(ssh, data_scene());
    ASSERT_OK(ssh.send(failing_at(GetParam(), "stop")));
    ASSERT_OK(ssh.scene->sender().process().wait_until_stopped(seconds(60)));
    ASSERT_OK(ssh.cut());
    nap(milliseconds(300));
    ::kill(ssh.sender(), SIGCONT);
    ASSERT_OK(ssh.scene->expect_source_runs({"Not moved", "has not told how it ended"}));
    ASSERT_OK(ssh.expect_no_session());
    std::cout << ssh.scene->sender().errors();
    source = ssh.scene->take_source();
  }
  ASSIGN_OR_FAIL(next, data_scene("", std::move(source)));
  ASSERT_OK(next.send());
  ASSERT_OK(next.scene->expect_moved());
  ASSERT_OK(next.expect_no_session());
}

INSTANTIATE_TEST_SUITE_P(At, SshDataCutBeforeLong, ::testing::Values("attached", "connected", "copying", "stopped"),
                         moment_name);

/// The journal says committed, and the commit finds no way: nobody can know.
TEST(SshDataCut, AtTheCommitIsInDoubt) {
  ASSIGN_OR_SKIP(ssh, data_scene());
  ASSERT_OK(ssh.send(failing_at("committed", "stop")));
  ASSERT_OK(ssh.scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(ssh.cut());
  ::kill(ssh.sender(), SIGCONT);
  ASSIGN_OR_FAIL(sent, ssh.scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 3) << ssh.scene->sender().errors();
  EXPECT_NE(ssh.scene->source().status().value_or("?"), "running");
  ASSERT_OK(ssh.scene->expect_sink_does_not_run());
  ASSERT_OK(ssh.expect_no_session());
  ASSERT_OK(ssh.scene->expect_nothing_left());
  std::cout << ssh.scene->sender().errors();
}

/// The commit is there, and its answer finds no way: the guest runs there, and here that is in doubt.
TEST(SshDataCut, AfterTheCommitLeavesTheGuestThere) {
  ASSIGN_OR_SKIP(ssh, data_scene("committed:stop"));
  ASSERT_OK(ssh.send());
  ASSERT_OK(ssh.far->wait_until_stopped());
  ASSERT_OK(ssh.cut());
  ASSERT_OK(ssh.far->signal(SIGHUP));
  ASSERT_OK(ssh.far->signal(SIGTERM));
  ASSERT_OK(ssh.far->signal(SIGCONT));
  ASSIGN_OR_FAIL(sent, ssh.scene->sender().wait(seconds(120)));
  EXPECT_EQ(sent.code, 3) << ssh.scene->sender().errors();
  EXPECT_NE(ssh.scene->source().status().value_or("?"), "running");
  ASSERT_OK(ssh.expect_no_session());
  ASSIGN_OR_FAIL(there, ssh.scene->sink().status());
  EXPECT_EQ(there, "running");
  ASSERT_OK(expect_guest_works(ssh.scene->sink()));
  ASSERT_OK(ssh.scene->expect_nothing_left());
  std::cout << ssh.scene->sender().errors();
}

/// The near side is killed: the far side ends by itself, and nothing is left of either's connections.
class SshDataKilledLong : public ::testing::TestWithParam<const char*> {};

TEST_P(SshDataKilledLong, LeavesNothingBehind) {
  ASSIGN_OR_SKIP(ssh, data_scene());
  ASSERT_OK(ssh.send(failing_at(GetParam(), "kill")));
  ASSERT_OK(ssh.scene->expect_probe_revives());
  ASSERT_OK(ssh.expect_no_session());
}

INSTANTIATE_TEST_SUITE_P(At, SshDataKilledLong, ::testing::Values("tracking", "copying", "prepared"), moment_name);

/// The far side is killed.
class SshDataFarKilled : public ::testing::TestWithParam<const char*> {};

TEST_P(SshDataFarKilled, LeavesTheGuestHere) {
  ASSIGN_OR_SKIP(ssh, data_scene(std::string(GetParam()) + ":kill"));
  ASSERT_OK(ssh.send());
  ASSERT_OK(ssh.scene->expect_source_runs({"Not moved"}));
  ASSERT_OK(ssh.expect_no_session());
}

INSTANTIATE_TEST_SUITE_P(At, SshDataFarKilled, ::testing::Values("mapped", "loaded"), moment_name);

// A link that says nothing any more: neither end of ssh is told.
TEST(SshDataLong, LeavesNothingBehindWhereTheLinkIsCut) {
  ASSIGN_OR_SKIP(ssh, data_scene());
  ASSERT_OK(ssh.send(failing_at("copying", "stop")));
  ASSERT_OK(ssh.scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(ssh.lab->cut());
  ::kill(ssh.sender(), SIGCONT);
  ASSERT_OK(ssh.scene->expect_source_runs({"Not moved", "has not told how it ended"}));
  if (!wait_until([&] { return !ssh.far->alive(); }, seconds(120))) FAIL() << "the far side waits on";
}

}  // namespace
}  // namespace godwit::testing
