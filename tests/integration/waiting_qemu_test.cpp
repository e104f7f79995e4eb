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

/// While `receive` waits somebody loads another VM into its QEMU by QEMU's own migration: not a page of it may change.
TEST_P(WaitingQemu, ThatHasAnotherVmByThenKeepsIt) {
  QemuOptions options = quiet_vm();
  options.version = GetParam();
  ASSIGN_OR_SKIP(other, start_pair(options));
  ASSIGN_OR_FAIL(receiver, start_receive(*other.sink));
  ASSIGN_OR_FAIL(address, receiver->listening_at());
  ASSERT_OK(migrate_by_qemu(other));
  ASSIGN_OR_FAIL(before, compare_ram(*other.source, *other.sink));
  ASSERT_TRUE(before.equal()) << before.describe();
  // Without a guest of its own nearly all of its memory is zeros, which a data map makes zeros there.
  options.guest.clear();
  options.guest_line.clear();
  ASSIGN_OR_FAIL(source, TestQemu::start(options));
  ASSIGN_OR_FAIL(sender, start_send(*source, address));
  ASSIGN_OR_FAIL(sent, sender->wait(seconds(60)));
  EXPECT_EQ(sent.code, 1);
  EXPECT_TRUE(says(sender->errors(), "does not wait for a VM")) << sender->errors();
  ASSIGN_OR_FAIL(after, compare_ram(*other.source, *other.sink));
  EXPECT_TRUE(after.equal()) << after.describe();
  ASSIGN_OR_FAIL(ended, receiver->wait(seconds(60)));
  EXPECT_EQ(ended.code, 1) << receiver->errors();
  EXPECT_EQ(source->status().value_or("gone"), "running");
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
