// QEMUs that somebody has confined: none of them is harmed, and what can be moved is.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <tuple>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

std::string confine() {
  const char* path = std::getenv("GODWIT_CONFINE");
  return path == nullptr ? "" : path;
}

class ConfinedQemu : public ::testing::TestWithParam<QemuVersion> {
 protected:
  QemuOptions vm() const {
    QemuOptions options = quiet_vm();
    options.version = GetParam();
    return options;
  }
  QemuOptions vm_under(const std::string& filter) const {
    QemuOptions options = vm();
    options.before = {confine(), filter};
    return options;
  }
};

INSTANTIATE_TEST_SUITE_P(Versions, ConfinedQemu, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& param) {
                           return "V" + std::string(param.param == QemuVersion::k7_2 ? "7" : "10");
                         });

TEST_P(ConfinedQemu, FilterThatKillsForUserfaultfdIsPassedBy) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm_under("kill-userfaultfd")));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

TEST_P(ConfinedQemu, FilterThatDeniesUserfaultfdIsPassedBy) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm_under("deny-userfaultfd")));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

TEST_P(ConfinedQemu, FilterThatLeavesNoWayIsRefusedByName) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm_under("kill-ioctl-new"), vm()));
  ASSIGN_OR_FAIL(probe, start_probe(scene->source()));
  ASSIGN_OR_FAIL(ended, probe->wait(seconds(60)));
  EXPECT_EQ(ended.code, 1);
  EXPECT_TRUE(says(probe->output(), "seccomp")) << probe->output();
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->sender().wait(seconds(60)));
  EXPECT_FALSE(says(scene->sender().errors(), "as root")) << scene->sender().errors();
  scene->receiver().process().kill();
  ASSERT_OK(scene->expect_source_runs({"seccomp", "userfaultfd"}));
}

TEST_P(ConfinedQemu, QemusOwnSandbox) {
  QemuOptions options = vm();
  options.more = {"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"};
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

/// At the destination memory is taken away from it, by calls in it that `receive` makes with fewer rights.
TEST_P(ConfinedQemu, QemusOwnSandboxIsInNoWayOfAPostcopy) {
  QemuOptions options = vm();
  options.ram = Ram::kPrivate;
  options.guest_line = "work=4M cold=64M:8M";
  options.more = {"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"};
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  GodwitOptions early;
  early.arguments = {"--codec", "raw", "--bandwidth", "60Mbit", "--on-deadline", "postcopy", "--deadline", "0s"};
  ASSERT_OK(scene->send(early));
  ASSERT_OK(scene->expect_moved());
  ASSERT_OK(scene->expect_some("pages_missing"));
}

TEST_P(ConfinedQemu, InNamespacesOfItsOwn) {
  QemuOptions options = vm();
  options.before = {confine(), "namespaces"};
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_NE(std::filesystem::read_symlink(fmt::format("/proc/{}/ns/pid", scene->source().pid())),
            std::filesystem::read_symlink("/proc/self/ns/pid"));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

/// The file behind the RAM has a path that leads nowhere for us.
TEST_P(ConfinedQemu, RamInAFileThatNobodyElseSees) {
  QemuOptions options = vm();
  options.before = {confine(), "hidden-ram"};
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

TEST_P(ConfinedQemu, InAChangedRootAsAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can change its root";
  ASSIGN_OR_FAIL(root, TempFolder::make("/tmp"));
  QemuOptions options = vm();
  if (GetParam() == QemuVersion::k7_2) {
    options.more = {"-chroot", root.path().string(), "-runas", "nobody"};
  } else {
    options.more = {"-run-with", fmt::format("chroot={},user=nobody", root.path().string())};
  }
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_TRUE(says(read_text(fmt::format("/proc/{}/status", scene->source().pid())), "Uid:\t65534"));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

/// An upgrade has put another program in its place since it was started.
TEST(ReplacedQemu, MovesAsBefore) {
  ASSIGN_OR_SKIP(program, find_qemu(QemuVersion::k7_2));
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  const auto copy = folder.path() / program.filename();
  std::filesystem::copy_file(std::filesystem::canonical(program), copy);
  ::setenv("GODWIT_QEMU_7", copy.c_str(), 1);
  // It looks for modules and firmware beside its program else.
  QemuOptions options = quiet_vm();
  for (const char* firmware : {"/usr/share/qemu", "/usr/share/seabios"}) {
    options.more.insert(options.more.end(), {"-L", firmware});
  }
  ::setenv("QEMU_MODULE_DIR", "/usr/lib/x86_64-linux-gnu/qemu", 0);
  auto made = Scene::make(options);
  ::unsetenv("GODWIT_QEMU_7");
  ::unsetenv("QEMU_MODULE_DIR");
  std::filesystem::remove(copy);
  ASSIGN_OR_SKIP(scene, std::move(made));
  ASSERT_TRUE(says(std::filesystem::read_symlink(fmt::format("/proc/{}/exe", scene->source().pid())), "(deleted)"));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

/// Bytes of the sink's main memory that are there, in QEMU's page table.
std::uint64_t resident(const TestQemu& qemu) {
  const auto& block = qemu.blocks().front();
  std::istringstream lines(read_text(fmt::format("/proc/{}/smaps", qemu.pid())));
  bool inside = false;
  std::uint64_t bytes = 0;
  for (std::string line; std::getline(lines, line);) {
    unsigned long start = 0, end = 0, kilobytes = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      inside = start >= block.address && end <= block.address + block.size;
    } else if (inside && std::sscanf(line.c_str(), "Rss: %lu kB", &kilobytes) == 1) {
      bytes += kilobytes * kKiB;
    }
  }
  return bytes;
}

/// A memory control group of the first version, with a limit, removed at the end.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::uint64_t limit) : path_(fmt::format("/sys/fs/cgroup/memory/godwit-test-{}", ::getpid())) {
    std::error_code error;
    std::filesystem::create_directory(path_, error);
    ok_ = !error && write("memory.limit_in_bytes", std::to_string(limit));
  }
  ~MemoryGroup() {
    if (ok_) wait_until([&] { return ::rmdir(path_.c_str()) == 0 || errno == ENOENT; }, seconds(10));
  }
  bool ok() const { return ok_; }
  bool take(pid_t pid) { return write("cgroup.procs", std::to_string(pid)); }
  std::uint64_t most() const {
    return std::strtoull(read_text(path_ / "memory.max_usage_in_bytes").c_str(), nullptr, 10);
  }

 private:
  bool write(const char* name, const std::string& text) {
    std::ofstream file(path_ / name);
    file << text << std::flush;
    return file.good();
  }
  std::filesystem::path path_;
  bool ok_ = false;
};

class LimitedReceiver : public ::testing::TestWithParam<std::tuple<QemuVersion, Ram>> {};

INSTANTIATE_TEST_SUITE_P(Kinds, LimitedReceiver,
                         ::testing::Values(std::tuple(QemuVersion::k7_2, Ram::kFile),
                                           std::tuple(QemuVersion::k10_0, Ram::kMemfd)),
                         [](const auto& param) { return name_of(std::get<1>(param.param)); });

/// The guest's memory is charged to QEMU's control group: `godwit receive` may be allowed far less.
TEST_P(LimitedReceiver, DoesNotPayForTheGuestsMemory) {
  constexpr std::uint64_t kLimit = 48 * kMiB;
  MemoryGroup group(kLimit);
  if (!group.ok()) GTEST_SKIP() << "no memory control groups of the first version here";
  QemuOptions options = quiet_vm();
  std::tie(options.version, options.ram) = GetParam();
  options.size = 256 * kMiB;
  options.guest_line = "work=2M cold=32M:96M stride=64 rate=16000";
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_TRUE(group.take(scene->receiver().process().pid()));
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_LT(group.most(), kLimit);
  EXPECT_GT(resident(scene->sink()), 96 * kMiB);
}

class PreallocatedSink : public ::testing::TestWithParam<std::tuple<QemuVersion, Ram>> {};

INSTANTIATE_TEST_SUITE_P(Kinds, PreallocatedSink,
                         ::testing::Values(std::tuple(QemuVersion::k7_2, Ram::kFile),
                                           std::tuple(QemuVersion::k10_0, Ram::kMemfd)),
                         [](const auto& param) { return name_of(std::get<1>(param.param)); });

/// What its operator has paid for beforehand is there when the guest has come.
TEST_P(PreallocatedSink, StaysAllocated) {
  QemuOptions source = quiet_vm();
  std::tie(source.version, source.ram) = GetParam();
  QemuOptions sink = source;
  sink.preallocate = true;
  ASSIGN_OR_SKIP(scene, Scene::make(source, sink));
  ASSERT_EQ(resident(scene->sink()), sink.size);
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
  EXPECT_EQ(resident(scene->sink()), sink.size);
}

}  // namespace
}  // namespace godwit::testing
