// A QEMU that cannot take in what comes: said when `receive` starts where that can be known, else in QEMU's own words.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

class WaitingQemu : public ::testing::TestWithParam<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    options_.version = GetParam();
    options_.size = 32 * kMiB;
  }

  /// `receive` ends at once, says why, and QEMU is as it was.
  void expect_refused(TestQemu& qemu, const std::vector<std::string>& words) {
    ASSIGN_OR_FAIL(before, qemu.status());
    ASSIGN_OR_FAIL(receiver, start_receive(qemu));
    ASSIGN_OR_FAIL(ended, receiver->wait(seconds(60)));
    EXPECT_EQ(ended.code, 1) << receiver->errors();
    EXPECT_FALSE(says(receiver->errors(), "listening")) << receiver->errors();
    for (const auto& word : words) EXPECT_TRUE(says(receiver->errors(), word)) << receiver->errors();
    EXPECT_EQ(qemu.status().value_or("gone"), before);
  }

  QemuOptions options_;
};

TEST_P(WaitingQemu, ForQemusOwnMigrationIsRefusedAtTheStart) {
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  for (const std::string& uri : {std::string("tcp:127.0.0.1:0"), "unix:" + (folder.path() / "m").string(),
                                 std::string("exec:exec sleep 1000")}) {
    SCOPED_TRACE(uri);
    QemuOptions options = options_;
    options.more = {"-S", "-incoming", uri};
    ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
    ASSERT_NO_FATAL_FAILURE(expect_refused(*qemu, {uri, "-incoming defer", "start it again"}));
  }
}

/// Deferred, and then told to listen by somebody else.
TEST_P(WaitingQemu, ThatSomebodyElseUsesIsRefusedAtTheStart) {
  QemuOptions options = options_;
  options.incoming = true;
  ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
  ASSERT_OK(qemu->monitor().execute("migrate-incoming", {{"uri", "tcp:127.0.0.1:0"}}));
  ASSERT_NO_FATAL_FAILURE(expect_refused(*qemu, {"own migration", "127.0.0.1:"}));
}

/// What only QEMU can tell: a stream whose header the sink is told not to expect. Its own words reach both operators;
/// one that stays alive afterwards (since 9.1) is not listened beside again.
TEST_P(WaitingQemu, ThatFailsToLoadSaysWhyInItsOwnWords) {
  QemuOptions source = quiet_vm();
  source.version = GetParam();
  QemuOptions sink = source;
  sink.more = {"-global", "migration.send-configuration=off"};
  ASSIGN_OR_SKIP(scene, Scene::make(source, sink));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_source_runs({"Unknown savevm section type"}));
  EXPECT_TRUE(says(scene->receiver().errors(), "Unknown savevm section type")) << scene->receiver().errors();
  if (!scene->sink().alive()) return;
  EXPECT_TRUE(says(scene->receiver().errors(), "start it again")) << scene->receiver().errors();
  ASSERT_NO_FATAL_FAILURE(expect_refused(scene->sink(), {"has failed to take in a VM", "start it again"}));
}

INSTANTIATE_TEST_SUITE_P(Qemu, WaitingQemu, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
