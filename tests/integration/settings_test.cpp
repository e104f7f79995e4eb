// What an engine sets in QEMU is as it was before when it has ended, whichever way; where it was killed, after the next
// command. Else the VM's next save or migration by other means would have no RAM in it.
#include "tests/integration/kills.h"

namespace godwit::testing {
namespace {

/// Some that Godwit changes, and one that is already as Godwit wants it.
void set_by_operator(TestQemu& qemu) {
  Json on = Json::array();
  for (const char* name : {"auto-converge", "events"}) on.push_back({{"capability", name}, {"state", true}});
  EXPECT_TRUE(qemu.monitor().execute("migrate-set-capabilities", {{"capabilities", on}}));
  EXPECT_TRUE(
      qemu.monitor().execute("migrate-set-parameters", {{"downtime-limit", 123}, {"max-bandwidth", 7'000'000'000}}));
}

/// A migration by other means, into nothing: all of RAM must be in it.
void expect_saves_ram(TestQemu& qemu, std::uint64_t ram) {
  ASSERT_OK(qemu.monitor().execute("migrate", {{"uri", "exec:cat >/dev/null"}}));
  Json state;
  ASSERT_TRUE(wait_until(
      [&] {
        state = qemu.monitor().execute("query-migrate").value_or(Json::object());
        return state.value("status", "") == "completed";
      },
      seconds(120)))
      << state;
  const auto pages = state["ram"].value("normal", std::uint64_t{0}) + state["ram"].value("duplicate", std::uint64_t{0});
  EXPECT_GE(pages * 4096, ram) << state;
}

QemuOptions vm_of(QemuVersion version) {
  QemuOptions options = quiet_vm();
  options.version = version;
  return options;
}

/// By the stream one whose private RAM is so large that QEMU begins with it beside the copy.
QemuOptions vm_of(const Kill& kill) {
  QemuOptions options = vm_of(kill.version);
  if (!kill.by_stream) return options;
  options.ram = Ram::kPrivate;
  options.size = 1536 * kMiB;
  return options;
}

std::vector<Kill> kills_by_stream() {
  auto all = kills_of(Side::kSource, "copying", "done");
  for (Kill& kill : all) kill.by_stream = true;
  return all;
}

class SettingsOfTheKilled : public ::testing::TestWithParam<Kill> {
 protected:
  void put_back() {
    ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam())));
    set_by_operator(scene->source());
    set_by_operator(scene->sink());
    const SettingsOfBoth before = settings_of(*scene);
    ASSERT_OK(start_until_killed(*scene, GetParam()));
    ASSERT_OK(recover(*scene, GetParam(), before));
    // One that was given away is paused, and QEMU migrates it no more.
    for (TestQemu* qemu : {&scene->source(), &scene->sink()}) {
      if (qemu->status().value_or("") != "running") continue;
      ASSERT_NO_FATAL_FAILURE(expect_saves_ram(*qemu, 128 * kMiB));
    }
  }
};

TEST_P(SettingsOfTheKilled, ArePutBack) {
  put_back();
}

using SettingsOfTheKilledLong = SettingsOfTheKilled;
TEST_P(SettingsOfTheKilledLong, ArePutBack) {
  put_back();
}

const auto name = [](const auto& tested) { return name_of(tested.param); };
INSTANTIATE_TEST_SUITE_P(At, SettingsOfTheKilled,
                         ::testing::Values(Kill{Side::kSource, "stopped", QemuVersion::k7_2},
                                           Kill{Side::kSource, "prepared", QemuVersion::k10_0},
                                           Kill{Side::kSource, "committed", QemuVersion::k7_2},
                                           Kill{Side::kSource, "done", QemuVersion::k10_0},
                                           Kill{Side::kSink, "mapped", QemuVersion::k10_0},
                                           Kill{Side::kSink, "prepared", QemuVersion::k7_2},
                                           Kill{Side::kSink, "resumed", QemuVersion::k7_2},
                                           Kill{Side::kSink, "resumed", QemuVersion::k10_0},
                                           Kill{Side::kSource, "handing-over", QemuVersion::k7_2, true},
                                           Kill{Side::kSource, "stopped", QemuVersion::k10_0, true}),
                         name);
INSTANTIATE_TEST_SUITE_P(ByStream, SettingsOfTheKilledLong, ::testing::ValuesIn(kills_by_stream()), name);
INSTANTIATE_TEST_SUITE_P(At, SettingsOfTheKilledLong, ::testing::ValuesIn(every_kill()), name);

class Settings : public ::testing::TestWithParam<QemuVersion> {};

TEST_P(Settings, AreAsTheyWereAfterAMove) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam())));
  set_by_operator(scene->source());
  set_by_operator(scene->sink());
  const SettingsOfBoth before = settings_of(*scene);
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_EQ(settings_of(scene->source()), before.source);
  EXPECT_EQ(settings_of(scene->sink()), before.sink);
}

/// No journal says why it is on: an engine of long ago, or whose journal is lost.
TEST_P(Settings, IgnoreSharedThatNobodyOwnsIsTurnedOff) {
  ASSIGN_OR_SKIP(qemu, TestQemu::start(QemuOptions{.version = GetParam(), .size = 32 * kMiB}));
  const Json before = settings_of(*qemu);
  const Json on = {{"capability", "x-ignore-shared"}, {"state", true}};
  ASSERT_OK(qemu->monitor().execute("migrate-set-capabilities", {{"capabilities", Json::array({on})}}));
  ASSIGN_OR_FAIL(text, probe(*qemu));
  EXPECT_TRUE(says(text, "x-ignore-shared was on")) << text;
  EXPECT_EQ(settings_of(*qemu), before);
  ASSIGN_OR_FAIL(again, probe(*qemu));
  EXPECT_FALSE(says(again, "x-ignore-shared was on")) << again;
  EXPECT_FALSE(std::filesystem::exists(qemu->folder() / "state") &&
               !std::filesystem::is_empty(qemu->folder() / "state"));
}

INSTANTIATE_TEST_SUITE_P(Qemu, Settings, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
