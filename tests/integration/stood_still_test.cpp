// The source's engine does not run (stopped by a signal, or by a host that swaps) in the last moments before the
// commit, and the sink gives up meanwhile. It must notice before it commits.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

/// Longer than a heartbeat and some: what was heard before is not news any more.
constexpr seconds kStandingStill{4};

class StoodStill : public ::testing::TestWithParam<const char*> {};

TEST_P(StoodStill, ASinkThatHasFallenSilentIsNotCommitted) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  nap(kStandingStill);
  // Its Prepared and its heartbeats up to now lie in the source's socket.
  ASSERT_OK(scene->receiver().process().send_signal(SIGSTOP));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->sender().wait(seconds(60)));
  scene->receiver().process().kill();
  ASSERT_OK(scene->expect_source_runs({"destination", "silent|nothing came"}));
}

TEST_P(StoodStill, ASinkThatStillWaitsIsCommitted) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  nap(kStandingStill);
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_moved());
}

/// Nobody harms the sink: it waits for a commit for a minute, then gives up by itself.
class StoodStillLong : public ::testing::TestWithParam<const char*> {};

TEST_P(StoodStillLong, ASinkThatGaveUpIsNotCommitted) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(GetParam(), "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->receiver().wait(seconds(90)));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"destination"}));
}

const auto name = [](const auto& tested) {
  std::string text = tested.param;
  for (char& c : text) {
    if (c == '-') c = '_';
  }
  return text;
};
INSTANTIATE_TEST_SUITE_P(At, StoodStill, ::testing::Values("devices-sent", "prepared"), name);
INSTANTIATE_TEST_SUITE_P(At, StoodStillLong, ::testing::Values("devices-sent", "prepared"), name);

}  // namespace
}  // namespace godwit::testing
