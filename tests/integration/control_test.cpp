// `godwit control`: a move that would go on for hours is steered to its end, one way or another; and what makes no
// sense is refused while it goes on.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

class Control : public ::testing::Test {
 protected:
  /// Begins a move over a link of 1 Mbit, and waits until memory is being copied.
  void begin(std::vector<std::string> more = {}) {
    QemuOptions options = quiet_vm();
    options.ram = Ram::kMemfd;
    options.guest_line = "work=256K cold=64M:12M stride=64 rate=4000";
    ASSIGN_OR_SKIP(scene, Scene::make(options));
    scene_ = std::move(scene);
    ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
    folder_ = std::move(folder);
    ASSERT_OK(scene_->receive());
    GodwitOptions slowly;
    slowly.arguments = {"--bandwidth", "1Mbit", "--codec", "raw", "--control", socket()};
    slowly.arguments.insert(slowly.arguments.end(), more.begin(), more.end());
    ASSERT_OK(scene_->send(slowly));
    ASSERT_TRUE(wait_until([&] { return says(control({"status"}).output, "copying"); }, seconds(60)))
        << scene_->sender().errors();
  }
  std::string socket() const { return folder_.path() / "control"; }
  struct Answer {
    int code = -1;
    std::string output, errors;
  };
  Answer control(std::vector<std::string> words) {
    GodwitOptions options;
    options.arguments = {"control", socket()};
    options.arguments.insert(options.arguments.end(), words.begin(), words.end());
    const auto asked = TestGodwit::start(options);
    if (!asked) return {.errors = asked.error().message};
    const auto ended = (*asked)->wait(seconds(60));
    return {ended ? ended->code : -1, (*asked)->output(), (*asked)->errors()};
  }
  void expect_done(const std::vector<std::string>& words) {
    const Answer answer = control(words);
    EXPECT_EQ(answer.code, 0) << words[0] << ": " << answer.errors;
  }
  void expect_refused(const std::vector<std::string>& words, const std::string& why, int code = 1) {
    const Answer answer = control(words);
    EXPECT_EQ(answer.code, code) << words[0] << ": " << answer.output;
    EXPECT_TRUE(says(answer.errors, why)) << words[0] << ": " << answer.errors;
  }

  TempFolder folder_;
  std::unique_ptr<Scene> scene_;
};

#define BEGIN_CONTROLLED(...) \
  begin(__VA_ARGS__);         \
  if (HasFatalFailure() || IsSkipped()) return

TEST_F(Control, AnotherBandwidthLetsItEnd) {
  BEGIN_CONTROLLED();
  const Answer before = control({"status", "--json"});
  const Json status = Json::parse(before.output, nullptr, false);
  ASSERT_TRUE(status.is_object()) << before.output << before.errors;
  EXPECT_EQ(status["progress"]["phase"], "copying");
  EXPECT_EQ(status["goals"]["bandwidth_bits_per_second"], 1'000'000);
  expect_refused({"set", "deadline", "3h"}, "is after timeout");
  expect_refused({"set", "deadline", "1ms"}, "have passed already");
  expect_refused({"set", "max-downtime", "yes"}, "is not a duration");
  expect_refused({"set", "lanes", "3"}, "unknown goal", 2);
  expect_refused({"stop"}, "unknown command", 2);
  expect_done({"set", "max-downtime", "2s"});
  expect_done({"set", "bandwidth", "none"});
  ASSERT_OK(scene_->expect_moved());
  EXPECT_FALSE(std::filesystem::exists(socket()));
  expect_refused({"status"}, "no move listens");
}

TEST_F(Control, SwitchOverNowPausesTheGuestUntilTheRestIsThere) {
  BEGIN_CONTROLLED();
  expect_done({"switch-over-now"});
  ASSERT_OK(scene_->expect_moved());
}

TEST_F(Control, PostcopyNowLetsTheGuestRunThereAtOnce) {
  BEGIN_CONTROLLED();
  expect_done({"postcopy-now"});
  // What follows keeps to the limit again.
  ASSERT_TRUE(wait_until([&] { return says(control({"status"}).output, "post-copy"); }, seconds(60)))
      << scene_->sender().errors();
  expect_refused({"cancel"}, "runs at the destination already");
  expect_refused({"set", "max-downtime", "100ms"}, "nothing can be changed");
  expect_done({"set", "bandwidth", "none"});
  ASSERT_OK(scene_->expect_moved());
  ASSERT_OK(scene_->expect_some("pages_missing"));
}

TEST_F(Control, CancelLeavesTheGuestAtTheSource) {
  BEGIN_CONTROLLED();
  GodwitOptions second;
  second.arguments = {"send",      "--qmp", "/nobody", "--to", "tcp://127.0.0.1:1", "--insecure-plain",
                      "--control", socket()};
  ASSIGN_OR_FAIL(other, TestGodwit::start(second));
  ASSIGN_OR_FAIL(ended, other->wait(seconds(60)));
  EXPECT_EQ(ended.code, 2);
  EXPECT_TRUE(says(other->errors(), "another program listens there")) << other->errors();
  expect_done({"cancel"});
  ASSERT_OK(scene_->expect_source_runs({"cancelled"}));
}

}  // namespace
}  // namespace godwit::testing
