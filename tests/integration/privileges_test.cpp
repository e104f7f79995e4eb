// Least privilege: what the engines keep of root, and moves of QEMUs that are not root's.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <tuple>

#include "base/small_files.h"
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

constexpr uid_t kNobody = 65534;

// Bits of linux/capability.h, written down once more: the test is not to repeat a mistake.
constexpr std::uint64_t kDacOverrideBit = 1ULL << 1;
constexpr std::uint64_t kKillBit = 1ULL << 5;
constexpr std::uint64_t kPtraceBit = 1ULL << 19;
constexpr std::uint64_t kCheckpointRestoreBit = 1ULL << 40;

std::string status_line(const std::string& status, const char* name) {
  return value_of_line(status, name).value_or("none");
}

/// What this process could have given, of the wanted.
std::string hexadecimal(std::uint64_t bits) {
  const std::string bound = status_line(read_text("/proc/self/status"), "CapBnd");
  return fmt::format("{:016x}", bits & std::strtoull(bound.c_str(), nullptr, 16));
}

/// Empty if each thread of the process has exactly these, no_new_privs and a filter; else what is wrong.
std::string why_not_limited_to(pid_t pid, std::uint64_t capabilities) {
  std::string wrong;
  const std::string wanted = hexadecimal(capabilities);
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  const auto threads = names_in(tasks);
  if (threads.empty()) return "no threads";
  for (const auto& thread : threads) {
    const std::string status = read_text(fmt::format("{}/{}/status", tasks, thread));
    for (const auto& [name, value] : {std::pair<const char*, std::string>{"CapPrm", wanted},
                                      {"CapEff", wanted},
                                      {"CapInh", hexadecimal(0)},
                                      {"CapAmb", hexadecimal(0)},
                                      {"NoNewPrivs", "1"},
                                      {"Seccomp", "2"}}) {
      const std::string found = status_line(status, name);
      if (found != value) {
        wrong +=
            fmt::format("thread {} ({}): {} is {}, not {}\n", thread, status_line(status, "Name"), name, found, value);
      }
    }
  }
  return wrong;
}

pid_t only_child_of(pid_t pid) {
  const std::string children = read_text(fmt::format("/proc/{0}/task/{0}/children", pid));
  return children.empty() ? 0 : std::stoi(children);
}

/// Files in QEMU's folder that are not its user's, except what the test itself has put there.
std::vector<std::string> foreign_files(const TestQemu& qemu) {
  std::vector<std::string> foreign;
  for (const auto& entry : std::filesystem::directory_iterator(qemu.folder())) {
    const std::string name = entry.path().filename();
    if (name == "state" || name == "stdout" || name == "stderr") continue;
    struct stat status {};
    if (::lstat(entry.path().c_str(), &status) != 0 || status.st_uid != kNobody) foreign.push_back(name);
  }
  return foreign;
}

QemuOptions nobodys_vm() {
  QemuOptions options = quiet_vm();
  options.user = kNobody;
  return options;
}

class Privileges : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give up rights, or start a QEMU as another user";
  }
};

TEST_F(Privileges, OfBothEnginesAreWhatTheyNeedInTheMidstOfAMove) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  const std::uint64_t receive = kDacOverrideBit | kKillBit | kPtraceBit | kCheckpointRestoreBit;
  EXPECT_EQ(why_not_limited_to(scene->receiver().process().pid(), receive), "");
  ASSERT_OK(scene->send(failing_at("copying", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  const pid_t sender = scene->sender().process().pid();
  EXPECT_EQ(why_not_limited_to(sender, kDacOverrideBit | kPtraceBit), "");
  const pid_t releaser = only_child_of(sender);
  ASSERT_NE(releaser, 0);
  EXPECT_EQ(why_not_limited_to(releaser, 0), "");
  EXPECT_EQ(why_not_limited_to(scene->receiver().process().pid(), receive), "");
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_moved());
  EXPECT_FALSE(says(scene->sender().errors() + scene->receiver().errors(), "rights that it does not need|filter"))
      << scene->sender().errors() << scene->receiver().errors();
}

/// A move that fails after rights were given up is undone all the same.
TEST_F(Privileges, ThatAreLeftAreEnoughToUndoAMove) {
  ASSIGN_OR_SKIP(scene, Scene::make(nobodys_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("stopped", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  scene->sink().process().kill();
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({}));
}

TEST_F(Privileges, ThatAreLeftAreEnoughForProbeToReviveAnothersGuest) {
  ASSIGN_OR_SKIP(scene, Scene::make(nobodys_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("stopped", "kill")));
  ASSIGN_OR_FAIL(was_paused, scene->expect_probe_revives());
  EXPECT_TRUE(was_paused);
}

class QemuOfAnotherUser : public ::testing::TestWithParam<std::tuple<QemuVersion, Ram>> {};

INSTANTIATE_TEST_SUITE_P(Kinds, QemuOfAnotherUser,
                         ::testing::Values(std::tuple(QemuVersion::k7_2, Ram::kFile),
                                           std::tuple(QemuVersion::k7_2, Ram::kPrivate),
                                           std::tuple(QemuVersion::k10_0, Ram::kMemfd)),
                         [](const auto& param) {
                           return name_of(std::get<1>(param.param)) +
                                  (std::get<0>(param.param) == QemuVersion::k7_2 ? "7" : "10");
                         });

/// There, and on to a third: each side of a move, once with QEMU as its user's.
TEST_P(QemuOfAnotherUser, IsMovedAndItsFolderStaysItsOwn) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can start a QEMU as another user";
  QemuOptions options = nobodys_vm();
  std::tie(options.version, options.ram) = GetParam();
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_TRUE(says(read_text(fmt::format("/proc/{}/status", scene->source().pid())), "Uid:\t65534"));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_EQ(foreign_files(scene->source()), std::vector<std::string>{});
  EXPECT_EQ(foreign_files(scene->sink()), std::vector<std::string>{});
  ASSIGN_OR_SKIP(back, Scene::from(scene->take_sink(), options));
  ASSERT_OK(back->receive());
  ASSERT_OK(back->send());
  ASSERT_OK(back->expect_moved());
  EXPECT_EQ(foreign_files(back->sink()), std::vector<std::string>{});
}

/// No root at all: capabilities alone, as a service manager gives them to a user.
TEST_F(Privileges, OfAUserAreCapabilitiesAlone) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  GodwitOptions as_user;
  as_user.before = {"setpriv",
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                    "--inh-caps=-all,+sys_ptrace,+dac_override,+kill",
                    "--ambient-caps=-all,+sys_ptrace,+dac_override,+kill"};
  ASSERT_OK(scene->receive(as_user));
  const pid_t receiver = scene->receiver().process().pid();
  EXPECT_TRUE(says(read_text(fmt::format("/proc/{}/status", receiver)), "Uid:\t65534"));
  EXPECT_EQ(why_not_limited_to(receiver, kDacOverrideBit | kKillBit | kPtraceBit), "");
  ASSERT_OK(scene->send(as_user));
  ASSERT_OK(scene->expect_moved());
}

/// What the unit's line of capabilities says, as setpriv takes it: "-all,+sys_ptrace,...".
std::string capabilities_of_unit() {
  const char* source = std::getenv("GODWIT_SOURCE");
  std::istringstream lines(read_text(fmt::format("{}/packaging/systemd/godwit-receive.service", source)));
  const std::string key = "CapabilityBoundingSet=";
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key)) continue;
    std::string list = "-all";
    std::istringstream words(line.substr(key.size()));
    for (std::string word; words >> word;) {
      list += ",+";
      for (const char c : word.substr(4)) list += static_cast<char>(std::tolower(c));
    }
    return list;
  }
  return {};
}

/// systemd itself cannot be had in a test: its capabilities and no_new_privs are given as the unit says, its mounts and
/// its filter are not.
TEST_F(Privileges, OfTheSystemdUnitAreEnoughForReceiveKeep) {
  const std::string capabilities = capabilities_of_unit();
  ASSERT_TRUE(says(capabilities, "+sys_ptrace")) << capabilities;
  QemuOptions options = nobodys_vm();
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  GodwitOptions as_unit;
  as_unit.before = {"setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=" + capabilities};
  as_unit.arguments = {"--keep"};
  ASSERT_OK(scene->receive(as_unit));
  ASSERT_OK(scene->send());
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(120)));
  EXPECT_EQ(sent.code, 0) << scene->sender().errors() << scene->receiver().errors();
  ASSERT_OK(scene->receiver().process().send_signal(SIGTERM));
  ASSIGN_OR_FAIL(ended, scene->receiver().wait(seconds(60)));
  EXPECT_EQ(ended.code, 0) << scene->receiver().errors();
  ASSIGN_OR_FAIL(there, scene->sink().status());
  EXPECT_EQ(there, "running");
}

/// Who is denied something is not told that godwit's own filter may be why.
TEST_F(Privileges, ThatGodwitGaveUpAreNotNamedAsWhatDenies) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  GodwitOptions without;
  without.before = {"setpriv", "--inh-caps=-all", "--bounding-set=-sys_ptrace"};
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(without));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 1);
  EXPECT_TRUE(says(scene->sender().errors(), "without CAP_SYS_PTRACE")) << scene->sender().errors();
  EXPECT_FALSE(says(scene->sender().errors(), "seccomp")) << scene->sender().errors();
  scene->receiver().process().kill();
}

}  // namespace
}  // namespace godwit::testing
