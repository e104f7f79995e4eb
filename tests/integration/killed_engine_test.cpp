// The source's engine dies at each milestone before the commit: the guest runs on, or is paused until the next Godwit
// finds it and lets it run on. It never runs twice, and can be moved again.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

class KilledSource : public ::testing::TestWithParam<const char*> {};

TEST_P(KilledSource, GuestIsFoundAndRunsOn) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at(GetParam(), "kill")));
  if (std::string(GetParam()) == "attached") {
    // Nothing reached the receiver, which would wait for another sender.
    ASSERT_OK(scene->sender().wait(seconds(60)));
    scene->receiver().process().kill();
  }
  ASSIGN_OR_FAIL(was_paused, scene->expect_probe_revives());
  // Before QEMU has written its whole stream it may notice by itself that nobody reads it, and let its guest run.
  const std::string at = GetParam();
  const bool must_be_paused = at == "devices-sent" || at == "prepared";
  const bool must_run = at == "attached" || at == "connected" || at == "copying";
  EXPECT_TRUE(was_paused || !must_be_paused);
  EXPECT_TRUE(!was_paused || !must_run);
  ASSERT_OK(scene->expect_next_migration_succeeds());
}

const auto name = [](const auto& tested) {
  std::string text = tested.param;
  for (char& c : text) {
    if (c == '-') c = '_';
  }
  return text;
};
INSTANTIATE_TEST_SUITE_P(At, KilledSource,
                         ::testing::Values("attached", "connected", "welcomed", "tracking", "mapped", "copying",
                                           "handing-over", "stopped", "fenced", "devices-sent", "prepared"),
                         name);

/// Without a probe in between: `godwit send` itself finds what was left, and moves the guest.
TEST(KilledSourceThenSend, MovesTheGuest) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("prepared", "kill")));
  ASSIGN_OR_FAIL(ended, scene->sender().wait(seconds(60)));
  ASSERT_EQ(ended.signal, SIGKILL);
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  ASSERT_OK(scene->expect_next_migration_succeeds());
}

/// As when a service manager kills the whole control group: what would have let go gently is dead too, and the kernel
/// does it all at once.
TEST(KilledSourceAndItsReleaser, LeaveAGuestThatRunsAndCanBeMoved) {
  for (const char* milestone : {"copying", "prepared"}) {
    SCOPED_TRACE(milestone);
    ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
    ASSERT_OK(scene->receive());
    ASSERT_OK(scene->send(failing_at(milestone, "stop")));
    ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
    const pid_t engine = scene->sender().process().pid();
    unsigned releasers = 0;
    for (const pid_t pid : processes_marked(kMark, test_mark())) {
      if (pid == engine || pid == scene->receiver().process().pid()) continue;
      ASSERT_EQ(::kill(pid, SIGKILL), 0);
      ++releasers;
    }
    EXPECT_EQ(releasers, 1U);
    ASSERT_OK(scene->sender().process().send_signal(SIGKILL));
    ASSERT_OK(scene->expect_probe_revives());
    ASSERT_OK(scene->expect_next_migration_succeeds());
  }
}

/// The commit is on record and was never sent: the guest may run nowhere, but never here again.
TEST(KilledSourceAfterCommit, NeverRunsHereAgain) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("committed", "kill")));
  ASSIGN_OR_FAIL(ended, scene->sender().wait(seconds(60)));
  ASSERT_EQ(ended.signal, SIGKILL);
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  ASSERT_OK(scene->receiver().wait(seconds(60)));
  ASSERT_OK(scene->expect_sink_does_not_run());
  ASSIGN_OR_FAIL(probe, start_probe(scene->source()));
  ASSERT_OK(probe->wait(seconds(60)));
  EXPECT_TRUE(says(probe->output() + probe->errors(), "committed")) << probe->output() << probe->errors();
  EXPECT_NE(scene->source().status().value_or("?"), "running") << "the probe ran a guest that was given away";
  // Nor does another send.
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(refused, scene->sender().wait(seconds(60)));
  EXPECT_EQ(refused.code, 3) << scene->sender().errors();
  EXPECT_TRUE(says(scene->sender().errors(), "has been moved already")) << scene->sender().errors();
  EXPECT_FALSE(says(scene->sender().errors(), "the destination does not run it")) << "nobody here can know that";
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  ASSERT_OK(scene->expect_nothing_left());
}

}  // namespace
}  // namespace godwit::testing
