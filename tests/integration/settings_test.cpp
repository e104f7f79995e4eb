// What an engine sets in QEMU is as it was before when it has ended, whichever way; where it was killed, after the next
// command. Else the VM's next save or migration by other means would have no RAM in it.
#include <fmt/format.h>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

Json settings_of(TestQemu& qemu) {
  Json all;
  all["capabilities"] = qemu.monitor().execute("query-migrate-capabilities").value_or(Json());
  all["parameters"] = qemu.monitor().execute("query-migrate-parameters").value_or(Json());
  return all;
}

/// Some that Godwit changes, and one that is already as Godwit wants it.
Json set_by_operator(TestQemu& qemu) {
  Json on = Json::array();
  for (const char* name : {"auto-converge", "events"}) on.push_back({{"capability", name}, {"state", true}});
  EXPECT_TRUE(qemu.monitor().execute("migrate-set-capabilities", {{"capabilities", on}}));
  EXPECT_TRUE(
      qemu.monitor().execute("migrate-set-parameters", {{"downtime-limit", 123}, {"max-bandwidth", 7'000'000'000}}));
  return settings_of(qemu);
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

Status probe(TestQemu& qemu, std::string* text = nullptr) {
  const auto godwit = TRY(start_probe(qemu));
  TRY(godwit->wait(seconds(60)));
  if (text != nullptr) *text = godwit->output() + godwit->errors();
  return {};
}

struct At {
  const char* milestone;
  QemuVersion version;
};

QemuOptions vm_of(QemuVersion version) {
  QemuOptions options = quiet_vm();
  options.version = version;
  return options;
}

const auto name = [](const auto& tested) {
  std::string text = fmt::format("{}_{}", tested.param.milestone, name_of(tested.param.version));
  for (char& c : text) {
    if (c == '-' || c == '.') c = '_';
  }
  return text;
};

class SettingsOfSource : public ::testing::TestWithParam<At> {
 protected:
  void put_back_after_a_kill() {
    ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam().version)));
    const Json source = set_by_operator(scene->source());
    const Json sink = set_by_operator(scene->sink());
    ASSERT_OK(scene->receive());
    ASSERT_OK(scene->send(failing_at(GetParam().milestone, "kill")));
    ASSIGN_OR_FAIL(ended, scene->sender().wait(seconds(60)));
    ASSERT_EQ(ended.signal, SIGKILL) << scene->sender().errors();
    if (std::string(GetParam().milestone) == "attached") {
      ASSERT_OK(scene->receiver().process().send_signal(SIGTERM));
    }
    ASSERT_OK(scene->receiver().wait(seconds(60)));
    ASSERT_OK(probe(scene->source()));
    EXPECT_EQ(settings_of(scene->source()), source);
    // The sink's engine ended by itself; its QEMU may have ended, too.
    if (scene->sink().status()) {
      EXPECT_EQ(settings_of(scene->sink()), sink);
    }
    // One that was given away stands, and QEMU migrates it no more.
    if (scene->source().status().value_or("") != "running") return;
    ASSERT_NO_FATAL_FAILURE(expect_saves_ram(scene->source(), 128 * kMiB));
  }
};

TEST_P(SettingsOfSource, ArePutBackAfterAKill) {
  put_back_after_a_kill();
}

using SettingsOfSourceLong = SettingsOfSource;
TEST_P(SettingsOfSourceLong, ArePutBackAfterAKill) {
  put_back_after_a_kill();
}

class SettingsOfSink : public ::testing::TestWithParam<At> {
 protected:
  void put_back_after_a_kill() {
    ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam().version)));
    const Json source = set_by_operator(scene->source());
    const Json sink = set_by_operator(scene->sink());
    ASSERT_OK(scene->receive(failing_at(GetParam().milestone, "kill")));
    ASSERT_OK(scene->send());
    ASSIGN_OR_FAIL(ended, scene->receiver().wait(seconds(60)));
    ASSERT_EQ(ended.signal, SIGKILL) << scene->receiver().errors();
    ASSERT_OK(scene->sender().wait(seconds(60)));
    EXPECT_EQ(settings_of(scene->source()), source);
    // In the midst of a load QEMU ends itself when its stream breaks off.
    if (!wait_until([&] { return !scene->sink().status() || settings_of(scene->sink()) == sink; }, seconds(1))) {
      std::string text;
      ASSERT_OK(probe(scene->sink(), &text));
      if (scene->sink().status()) {
        EXPECT_EQ(settings_of(scene->sink()), sink) << text;
      }
    }
    if (scene->sink().status().value_or("") != "running") return;
    ASSERT_NO_FATAL_FAILURE(expect_saves_ram(scene->sink(), 128 * kMiB));
  }
};

TEST_P(SettingsOfSink, ArePutBackAfterAKill) {
  put_back_after_a_kill();
}

using SettingsOfSinkLong = SettingsOfSink;
TEST_P(SettingsOfSinkLong, ArePutBackAfterAKill) {
  put_back_after_a_kill();
}

INSTANTIATE_TEST_SUITE_P(At, SettingsOfSource,
                         ::testing::Values(At{"stopped", QemuVersion::k7_2}, At{"prepared", QemuVersion::k10_0},
                                           At{"committed", QemuVersion::k7_2}, At{"done", QemuVersion::k10_0}),
                         name);
INSTANTIATE_TEST_SUITE_P(At, SettingsOfSink,
                         ::testing::Values(At{"mapped", QemuVersion::k10_0}, At{"prepared", QemuVersion::k7_2},
                                           At{"resumed", QemuVersion::k7_2}, At{"resumed", QemuVersion::k10_0}),
                         name);

std::vector<At> in_both_versions(const std::vector<const char*>& milestones) {
  std::vector<At> all;
  for (const char* milestone : milestones) {
    for (const auto version : {QemuVersion::k7_2, QemuVersion::k10_0}) all.push_back({milestone, version});
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(At, SettingsOfSourceLong,
                         ::testing::ValuesIn(in_both_versions({"attached", "connected", "welcomed", "tracking",
                                                               "mapped", "copying", "handing-over", "stopped", "fenced",
                                                               "devices-sent", "prepared", "committed", "done"})),
                         name);
INSTANTIATE_TEST_SUITE_P(At, SettingsOfSinkLong,
                         ::testing::ValuesIn(in_both_versions({"greeted", "welcomed", "mapped", "last-fence", "loaded",
                                                               "prepared", "committed", "resumed"})),
                         name);

class Settings : public ::testing::TestWithParam<QemuVersion> {};

TEST_P(Settings, AreAsTheyWereAfterAMove) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam())));
  const Json source = set_by_operator(scene->source());
  const Json sink = set_by_operator(scene->sink());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_EQ(settings_of(scene->source()), source);
  EXPECT_EQ(settings_of(scene->sink()), sink);
}

/// No journal says why it is on: an engine of long ago, or whose journal is lost.
TEST_P(Settings, IgnoreSharedThatNobodyOwnsIsTurnedOff) {
  ASSIGN_OR_SKIP(qemu, TestQemu::start(QemuOptions{.version = GetParam(), .size = 32 * kMiB}));
  const Json before = settings_of(*qemu);
  const Json on = {{"capability", "x-ignore-shared"}, {"state", true}};
  ASSERT_OK(qemu->monitor().execute("migrate-set-capabilities", {{"capabilities", Json::array({on})}}));
  std::string text;
  ASSERT_OK(probe(*qemu, &text));
  EXPECT_TRUE(says(text, "x-ignore-shared was on")) << text;
  EXPECT_EQ(settings_of(*qemu), before);
  ASSERT_OK(probe(*qemu, &text));
  EXPECT_FALSE(says(text, "x-ignore-shared was on")) << text;
  EXPECT_FALSE(std::filesystem::exists(qemu->folder() / "state") &&
               !std::filesystem::is_empty(qemu->folder() / "state"));
}

INSTANTIATE_TEST_SUITE_P(Qemu, Settings, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
