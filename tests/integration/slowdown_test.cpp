// A guest that writes faster than the link carries is slowed down as far as it may be, moved, and is as fast as before,
// also where the engine that slowed it down has died. Long: on a busy machine such a guest is slow by itself, and then
// it takes minutes until a share is found, or needs none.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

namespace fs = std::filesystem;

QemuOptions flat_out() {
  QemuOptions options;
  options.size = 128 * kMiB;
  options.guest = guest_image();
  options.guest_line = "work=4M cold=64M:8M";
  options.ram = Ram::kMemfd;
  return options;
}

GodwitOptions slowing(const std::string& by) {
  GodwitOptions options;
  options.arguments = {"--codec",     "raw",     "--delta-memory",   "0", "--max-downtime", "60ms",
                       "--bandwidth", "300Mbit", "--guest-slowdown", by,  "--progress",     "json"};
  return options;
}

/// Where its threads are, and which groups lie below these.
std::set<std::string> groups_of(pid_t process) {
  std::set<std::string> found;
  for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::ifstream file(task.path() / "cgroup");
    for (std::string line; std::getline(file, line);) found.insert(line);
  }
  return found;
}

bool becomes_slow(Scene& scene) {
  const auto is_slow = [&] { return scene.sender().output().find(R"("guest_share":0.)") != std::string::npos; };
  for (int i = 0; i < 600 && !is_slow() && scene.sender().process().alive(); ++i) {
    std::this_thread::sleep_for(milliseconds(100));
  }
  return is_slow();
}

TEST(SlowdownLong, LetsAMoveComeToItsEnd) {
  ASSIGN_OR_SKIP(scene, Scene::make(flat_out()));
  const auto before = groups_of(scene->source().pid());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(slowing("99%")));
  ASSERT_OK(scene->expect_moved());
  ASSERT_OK(scene->expect_some("slowed_for_us"));
  EXPECT_EQ(groups_of(scene->source().pid()), before);
}

TEST(SlowdownLong, GoesNoFurtherThanItMayAndEndsWithTheMove) {
  ASSIGN_OR_SKIP(scene, Scene::make(flat_out()));
  const auto before = groups_of(scene->source().pid());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(slowing("5%")));
  EXPECT_TRUE(becomes_slow(*scene)) << scene->sender().errors();
  std::this_thread::sleep_for(seconds(3));
  ASSERT_OK(scene->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene->expect_source_runs({"cancelled"}));
  EXPECT_NE(scene->sender().output().find(R"("guest_share":0.95)"), std::string::npos);
  EXPECT_EQ(scene->sender().output().find(R"("guest_share":0.94)"), std::string::npos);
  EXPECT_EQ(groups_of(scene->source().pid()), before);
}

TEST(SlowdownLong, EndsWithTheEngineThatDied) {
  ASSIGN_OR_SKIP(scene, Scene::make(flat_out()));
  const auto before = groups_of(scene->source().pid());
  ASSERT_OK(scene->receive());
  GodwitOptions options = slowing("30%");  // not enough: it stays so
  ASSERT_OK(scene->send(options));
  ASSERT_TRUE(becomes_slow(*scene)) << scene->sender().errors();
  scene->sender().process().kill();
  for (int i = 0; i < 300 && groups_of(scene->source().pid()) != before; ++i) {
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_EQ(groups_of(scene->source().pid()), before);
  ASSIGN_OR_FAIL(was_paused, scene->expect_probe_revives());
  EXPECT_FALSE(was_paused);
}

}  // namespace
}  // namespace godwit::testing
