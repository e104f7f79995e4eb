// An engine was killed, and then somebody else moved or stopped the guest. Its journal must not make the next command
// let that guest run: it may run elsewhere by now, or is stopped for a reason.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

class StaleJournal : public ::testing::TestWithParam<QemuVersion> {
 protected:
  /// A scene whose sender has been killed at the milestone, with a guest that runs at the source.
  void kill_at(const char* milestone) {
    QemuOptions options = quiet_vm();
    options.version = GetParam();
    options_ = options;
    ASSIGN_OR_SKIP(scene, Scene::make(options));
    scene_ = std::move(scene);
    ASSERT_OK(scene_->receive());
    ASSERT_OK(scene_->send(failing_at(milestone, "kill")));
    ASSIGN_OR_FAIL(ended, scene_->sender().wait(seconds(60)));
    ASSERT_EQ(ended.signal, SIGKILL) << scene_->sender().errors();
    ASSERT_OK(scene_->receiver().wait(seconds(60)));
    const auto at_rest = [&] {
      const auto state = source().monitor().execute("query-migrate").value_or(Json::object()).value("status", "");
      return state != "active" && state != "device" && source().status().value_or("") != "finish-migrate";
    };
    ASSERT_TRUE(wait_until(at_rest, seconds(30)));
    if (source().status().value_or("") != "running") ASSERT_OK(source().go_on());
    ASSERT_EQ(source().status().value_or(""), "running");
  }
  TestQemu& source() { return scene_->source(); }

  /// QEMU's own migration to a third QEMU, where the guest then runs.
  void move_by_other_means(std::unique_ptr<TestQemu>& third) {
    const Json off = {{"capability", "x-ignore-shared"}, {"state", false}};
    ASSERT_OK(source().monitor().execute("migrate-set-capabilities", {{"capabilities", Json::array({off})}}));
    options_.incoming = true;
    ASSIGN_OR_FAIL(b, TestQemu::start(options_));
    third = std::move(b);
    const std::string uri = "unix:" + (third->folder() / "migration").string();
    ASSERT_OK(third->monitor().execute("migrate-incoming", {{"uri", uri}}));
    ASSERT_OK(source().monitor().execute("migrate", {{"uri", uri}}));
    ASSERT_TRUE(wait_until([&] { return third->status().value_or("") == "paused"; }, seconds(120)));
    ASSERT_TRUE(wait_until([&] { return source().status().value_or("") == "postmigrate"; }, seconds(30)));
    ASSERT_OK(third->go_on());
    ASSERT_EQ(third->status().value_or(""), "running");
  }

  /// Neither a probe nor a send lets it run, and both say so.
  void expect_left_alone(const std::string& status) {
    ASSIGN_OR_FAIL(probe, start_probe(source()));
    ASSERT_OK(probe->wait(seconds(60)));
    const std::string text = probe->output() + probe->errors();
    EXPECT_EQ(source().status().value_or("?"), status) << text;
    EXPECT_TRUE(says(text, "left alone")) << text;
    EXPECT_FALSE(says(text, "let run on here")) << text;
    ASSERT_OK(scene_->send_to("tcp://127.0.0.1:9"));
    ASSIGN_OR_FAIL(sent, scene_->sender().wait(seconds(60)));
    EXPECT_EQ(sent.code, 1) << scene_->sender().errors();
    EXPECT_TRUE(says(scene_->sender().errors(), "left alone")) << scene_->sender().errors();
    EXPECT_EQ(source().status().value_or("?"), status);
  }

  QemuOptions options_;
  std::unique_ptr<Scene> scene_;
};

TEST_P(StaleJournal, AGuestMovedAfterHandingOverIsLeftAlone) {
  ASSERT_NO_FATAL_FAILURE(kill_at("handing-over"));
  if (!scene_) return;
  std::unique_ptr<TestQemu> third;
  ASSERT_NO_FATAL_FAILURE(move_by_other_means(third));
  ASSERT_NO_FATAL_FAILURE(expect_left_alone("postmigrate"));
}

/// The mark has what was seen of the stream.
TEST_P(StaleJournal, AGuestMovedAfterTheStopIsLeftAlone) {
  ASSERT_NO_FATAL_FAILURE(kill_at("stopped"));
  if (!scene_) return;
  std::unique_ptr<TestQemu> third;
  ASSERT_NO_FATAL_FAILURE(move_by_other_means(third));
  ASSERT_NO_FATAL_FAILURE(expect_left_alone("postmigrate"));
}

/// The mark has QEMU's numbers.
TEST_P(StaleJournal, AGuestMovedAfterPreparedIsLeftAlone) {
  ASSERT_NO_FATAL_FAILURE(kill_at("prepared"));
  if (!scene_) return;
  std::unique_ptr<TestQemu> third;
  ASSERT_NO_FATAL_FAILURE(move_by_other_means(third));
  ASSERT_NO_FATAL_FAILURE(expect_left_alone("postmigrate"));
}

TEST_P(StaleJournal, AnOperatorsStopIsNotUndone) {
  for (const char* milestone : {"handing-over", "prepared"}) {
    SCOPED_TRACE(milestone);
    ASSERT_NO_FATAL_FAILURE(kill_at(milestone));
    if (!scene_) return;
    // A guest whose devices were saved directly is "paused" already: only after it has run does a stop tell anything.
    if (source().status().value_or("") == "paused") {
      ASSERT_OK(source().go_on());
    }
    ASSERT_OK(source().stop());
    ASSERT_NO_FATAL_FAILURE(expect_left_alone("paused"));
    // The operator lets it run: then there is nothing to be said any more.
    ASSERT_OK(source().go_on());
    ASSIGN_OR_FAIL(probe, start_probe(source()));
    ASSIGN_OR_FAIL(probed, probe->wait(seconds(60)));
    EXPECT_EQ(probed.code, 0) << probe->output() << probe->errors();
  }
}

INSTANTIATE_TEST_SUITE_P(Qemu, StaleJournal, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
