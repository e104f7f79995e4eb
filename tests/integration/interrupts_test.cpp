// The operator changes his mind: SIGINT at every phase, on either side.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

const auto name = [](const auto& tested) {
  std::string text = tested.param;
  for (char& c : text) {
    if (c == '-') c = '_';
  }
  return text;
};

/// Stops the process at its milestone, so that the signal finds it there and nowhere else.
Status interrupt_at_stop(ChildProcess& process) {
  TRY(process.wait_until_stopped(seconds(60)));
  TRY(process.send_signal(SIGINT));
  return process.send_signal(SIGCONT);
}

class InterruptedSource : public ::testing::TestWithParam<const char*> {};

TEST_P(InterruptedSource, RunsOn) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(GetParam(), "stop")));
  ASSERT_OK(interrupt_at_stop(scene->sender().process()));
  if (std::string(GetParam()) == "attached") {
    ASSERT_OK(scene->sender().wait(seconds(60)));
    scene->receiver().process().kill();
  }
  ASSERT_OK(scene->expect_source_runs({"cancel|interrupt"}));
}

/// The terminal has been closed, or the session is ended.
class HungUpSource : public ::testing::TestWithParam<const char*> {};

TEST_P(HungUpSource, RunsOn) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->sender().process().send_signal(SIGHUP));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"cancel|interrupt"}));
}

INSTANTIATE_TEST_SUITE_P(At, HungUpSource, ::testing::Values("copying", "stopped"), name);

/// The last moments: Prepared may have come meanwhile, so the commit and the signal meet, and either may be first.
class InterruptedSourceLate : public ::testing::TestWithParam<const char*> {};

TEST_P(InterruptedSourceLate, RunsOnOrIsMoved) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(GetParam(), "stop")));
  ASSERT_OK(interrupt_at_stop(scene->sender().process()));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  if (sent.code == 0) {
    ASSERT_OK(scene->expect_moved());
  } else {
    ASSERT_OK(scene->expect_source_runs({"cancel|interrupt"}));
  }
}

INSTANTIATE_TEST_SUITE_P(At, InterruptedSourceLate, ::testing::Values("fenced", "devices-sent", "prepared"), name);

/// While the guest is paused and the sink has not answered: nothing can be in the signal's way.
class InterruptedWhileTheSinkIsSilent : public ::testing::TestWithParam<const char*> {};

TEST_P(InterruptedWhileTheSinkIsSilent, RunsOn) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->receiver().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene->sender().wait(seconds(20)));
  EXPECT_EQ(scene->source().status().value_or("?"), "running") << "the guest waits for a sink that is silent";
  ASSERT_OK(scene->receiver().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"cancel|interrupt"}));
}

INSTANTIATE_TEST_SUITE_P(At, InterruptedWhileTheSinkIsSilent,
                         ::testing::Values("greeted", "mapped", "last-fence", "loaded"), name);

INSTANTIATE_TEST_SUITE_P(At, InterruptedSource,
                         ::testing::Values("attached", "connected", "welcomed", "tracking", "mapped", "copying",
                                           "handing-over", "stopped"),
                         name);

/// Too late: the guest is the sink's.
TEST(InterruptedAfterCommit, IsMovedAllTheSame) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("committed", "stop")));
  ASSERT_OK(interrupt_at_stop(scene->sender().process()));
  ASSERT_OK(scene->expect_moved());
}

class InterruptedSink : public ::testing::TestWithParam<const char*> {};

TEST_P(InterruptedSink, SourceRuns) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->send());
  ASSERT_OK(interrupt_at_stop(scene->receiver().process()));
  ASSERT_OK(scene->expect_source_runs({"destination"}));
}

INSTANTIATE_TEST_SUITE_P(At, InterruptedSink, ::testing::Values("greeted", "welcomed", "mapped"), name);

/// Everything is in place at the sink: its Prepared may leave before its operator's wish does, and then the source has
/// committed. Whatever is first, the guest runs once at most, and a source that is in doubt knows what to tell.
class InterruptedSinkLate : public ::testing::TestWithParam<const char*> {};

TEST_P(InterruptedSinkLate, AtMostOneRuns) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->send());
  ASSERT_OK(interrupt_at_stop(scene->receiver().process()));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  if (sent.code == 0) {
    ASSERT_OK(scene->expect_moved());
  } else if (sent.code == 1) {
    ASSERT_OK(scene->expect_source_runs({"destination"}));
  } else {
    EXPECT_EQ(sent.code, 3) << scene->sender().errors();
    EXPECT_TRUE(says(scene->sender().errors(), "receive")) << scene->sender().errors();
    EXPECT_NE(scene->source().status().value_or("?"), "running");
    ASSERT_OK(scene->expect_sink_does_not_run());
  }
}

INSTANTIATE_TEST_SUITE_P(At, InterruptedSinkLate, ::testing::Values("last-fence", "loaded", "prepared"), name);

TEST(InterruptedSinkAlone, EndsAndLeavesItsQemu) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->receiver().process().send_signal(SIGINT));
  ASSIGN_OR_FAIL(ended, scene->receiver().wait(seconds(30)));
  EXPECT_EQ(ended.code, 1) << scene->receiver().errors();
  EXPECT_EQ(scene->sink().status().value_or("?"), "inmigrate");
  ASSERT_OK(scene->expect_nothing_left());
}

}  // namespace
}  // namespace godwit::testing
