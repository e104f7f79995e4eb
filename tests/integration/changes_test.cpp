// What an operator does to a VM while its memory is copied: a snapshot, a job, a medium, a device, an export, another
// process at its memory. The move ends and says what was changed; the VM runs at the source as its operator made it,
// and once the destination's QEMU fits it, or the cause is gone, it moves.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <vector>

#include "tests/integration/kills.h"

namespace godwit::testing {
namespace {

constexpr seconds kJobLimit{60};

/// The images of one scene.
struct Images {
  std::filesystem::path folder;
  std::string at(const std::string& name) const { return (folder / name).string(); }
  std::string raw(const std::string& name, std::uint64_t size = kMiB) const {
    std::ofstream(at(name)) << std::string(size, 'x');
    return at(name);
  }
};

using Words = std::vector<std::string>;

struct Change {
  const char* name;
  /// Options of the VM, on top of quiet_vm()'s.
  std::function<Words(const Images&)> parts;
  std::function<Status(TestQemu&, const Images&)> make;
  /// What the sender must say.
  Words says;
  /// The VM is still as make() left it.
  std::function<Status(TestQemu&)> holds;
  /// Takes the cause away where it can be taken away; gives the options for the next destination, or none where there
  /// can be no next move.
  std::function<Result<std::optional<Words>>(TestQemu&, const Images&)> next;
};

tl::unexpected<Error> otherwise(std::string what) {
  return fail(ErrorKind::kProtocol, std::move(what));
}

Status run(TestQemu& qemu, const std::string& command, const Json& arguments = Json::object()) {
  TRY_IN(command, qemu.monitor().execute(command, arguments));
  return {};
}

Words disk(const std::string& file, const std::string& format = "raw") {
  return {"-drive", fmt::format("file={},if=none,id=d0,format={}", file, format), "-device",
          "virtio-blk-pci,drive=d0,id=vb,share-rw=on"};
}

Result<std::string> image_of(TestQemu& qemu, const std::string& drive) {
  const Json drives = TRY(qemu.monitor().execute("query-block"));
  for (const auto& one : drives) {
    if (one.value("device", "") == drive && one.contains("inserted")) return one["inserted"].value("file", "");
  }
  return std::string();
}

std::function<Status(TestQemu&)> drive_is_on(const std::string& drive, const std::string& file) {
  return [=](TestQemu& qemu) -> Status {
    const std::string found = TRY(image_of(qemu, drive));
    return found.ends_with(file) ? Status{} : otherwise(fmt::format("'{}' is on '{}'", drive, found));
  };
}

Status start_mirror(TestQemu& qemu, const Images& images) {
  return run(qemu, "drive-mirror",
             {{"device", "d0"}, {"target", images.at("mirror.raw")}, {"sync", "full"}, {"format", "raw"}});
}

Status await_no_jobs(TestQemu& qemu) {
  const bool ended = wait_until(
      [&] {
        const auto jobs = qemu.monitor().execute("query-jobs");
        return !jobs || jobs->empty();
      },
      kJobLimit);
  return ended ? Status{} : otherwise("the job does not end");
}

Status job_goes_on(TestQemu& qemu) {
  const Json jobs = TRY(qemu.monitor().execute("query-jobs"));
  return jobs.size() == 1 && jobs[0].value("id", "") == "d0" ? Status{} : otherwise("the jobs are " + jobs.dump());
}

Status cancel_job(TestQemu& qemu) {
  TRY(run(qemu, "block-job-cancel", {{"device", "d0"}}));
  return await_no_jobs(qemu);
}

Status has_device(TestQemu& qemu, const std::string& id) {
  TRY(run(qemu, "qom-list", {{"path", "/machine/peripheral/" + id}}));
  return {};
}

/// The VM's memory in this process.
Result<void*> map_ram(const TestQemu& qemu) {
  const std::string folder = fmt::format("/proc/{}/map_files", qemu.pid());
  const std::string begins = fmt::format("{:x}-", qemu.blocks().at(0).address);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.path().filename().string().starts_with(begins)) continue;
    const UniqueFd file(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
    if (!file) return fail_os("open " + entry.path().string());
    void* mapped = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (mapped == MAP_FAILED) return fail_os("mmap");
    return mapped;
  }
  return otherwise("no mapping begins at the RAM block");
}

Change snapshot() {
  return {
      .name = "snapshot",
      .parts = [](const Images& images) { return disk(images.raw("base.raw")); },
      .make =
          [](TestQemu& qemu, const Images& images) {
            return run(qemu, "blockdev-snapshot-sync", {{"device", "d0"}, {"snapshot-file", images.at("snap.qcow2")}});
          },
      .says = {"disk 'd0' has been given a snapshot", "base.raw", "snap.qcow2"},
      .holds = drive_is_on("d0", "snap.qcow2"),
      .next = [](TestQemu&, const Images& images) -> Result<std::optional<Words>> {
        return disk(images.at("snap.qcow2"), "qcow2");
      }};
}

Change mirror() {
  return {.name = "mirror",
          .parts = [](const Images& images) { return disk(images.raw("base.raw")); },
          .make = start_mirror,
          .says = {"job 'd0' (mirror", "left behind", "job-cancel"},
          .holds = job_goes_on,
          .next = [](TestQemu& qemu, const Images& images) -> Result<std::optional<Words>> {
            TRY(cancel_job(qemu));
            return disk(images.at("base.raw"));
          }};
}

Change pivot() {
  return {.name = "pivot",
          .parts = [](const Images& images) { return disk(images.raw("base.raw")); },
          .make = [](TestQemu& qemu, const Images& images) -> Status {
            TRY(start_mirror(qemu, images));
            TRY(qemu.monitor().wait_for_event("BLOCK_JOB_READY", kJobLimit));
            TRY(run(qemu, "block-job-complete", {{"device", "d0"}}));
            return await_no_jobs(qemu);
          },
          .says = {"disk 'd0' has been moved to another image", "base.raw", "mirror.raw"},
          .holds = drive_is_on("d0", "mirror.raw"),
          .next = [](TestQemu&, const Images& images) -> Result<std::optional<Words>> {
            return disk(images.at("mirror.raw"));
          }};
}

Change medium() {
  return {.name = "medium",
          .parts =
              [](const Images&) {
                return Words{"-drive", "if=ide,media=cdrom,id=cd"};
              },
          .make =
              [](TestQemu& qemu, const Images& images) {
                return run(qemu, "blockdev-change-medium",
                           {{"device", "cd"}, {"filename", images.raw("disc.iso")}, {"format", "raw"}});
              },
          .says = {"a medium has been inserted into drive 'cd'", "disc.iso"},
          .holds = drive_is_on("cd", "disc.iso"),
          .next = [](TestQemu&, const Images& images) -> Result<std::optional<Words>> {
            return Words{"-drive", fmt::format("if=ide,media=cdrom,id=cd,file={},format=raw", images.at("disc.iso"))};
          }};
}

Change card() {
  return {
      .name = "card",
      .parts = [](const Images&) { return Words{}; },
      .make =
          [](TestQemu& qemu, const Images&) {
            return run(qemu, "device_add", {{"driver", "e1000"}, {"id", "nic1"}, {"addr", "0x10"}, {"romfile", ""}});
          },
      .says = {"device 'nic1' (e1000) has been added"},
      .holds = [](TestQemu& qemu) { return has_device(qemu, "nic1"); },
      .next = [](TestQemu&, const Images&) -> Result<std::optional<Words>> {
        return Words{"-device", "e1000,id=nic1,addr=0x10,romfile="};
      }};
}

/// With cache=none: the tracker was chosen for a VM that has no such disk.
Change plugged_disk() {
  return {
      .name = "plugged_disk",
      .parts = [](const Images&) { return Words{}; },
      .make = [](TestQemu& qemu, const Images& images) -> Status {
        TRY(run(qemu, "blockdev-add",
                {{"driver", "file"},
                 {"node-name", "f2"},
                 {"filename", images.raw("second.raw")},
                 {"cache", {{"direct", true}}}}));
        return run(qemu, "device_add", {{"driver", "virtio-blk-pci"}, {"drive", "f2"}, {"id", "vc"}, {"addr", "0x11"}});
      },
      .says = {"disk 'vc' has been added, on ", "second.raw", "device 'vc' (virtio-blk-pci) has been added"},
      .holds = [](TestQemu& qemu) { return has_device(qemu, "vc"); },
      .next = [](TestQemu&, const Images& images) -> Result<std::optional<Words>> {
        return Words{"-blockdev",
                     fmt::format("driver=file,node-name=f2,cache.direct=on,filename={}", images.at("second.raw")),
                     "-device", "virtio-blk-pci,drive=f2,id=vc,addr=0x11"};
      }};
}

Change unplugged_disk() {
  return {.name = "unplugged_disk",
          .parts =
              [](const Images& images) {
                return Words{"-device", "virtio-scsi-pci,id=vs,addr=0x12",
                             "-drive",  fmt::format("file={},if=none,id=d1,format=raw", images.raw("scsi.raw")),
                             "-device", "scsi-hd,drive=d1,bus=vs.0,id=sd"};
              },
          .make = [](TestQemu& qemu, const Images&) -> Status {
            TRY(run(qemu, "device_del", {{"id", "sd"}}));
            TRY(qemu.monitor().wait_for_event("DEVICE_DELETED", kJobLimit));
            return {};
          },
          .says = {"device 'sd' (scsi-hd) has been removed"},
          .holds = [](TestQemu& qemu) { return has_device(qemu, "sd") ? otherwise("it is there") : Status{}; },
          .next = [](TestQemu&, const Images&) -> Result<std::optional<Words>> {
            return Words{"-device", "virtio-scsi-pci,id=vs,addr=0x12"};
          }};
}

/// A guest without an operating system gives no memory back: there is no next move.
Change dimm() {
  return {.name = "dimm",
          .parts =
              [](const Images&) {
                return Words{"-m", "128,slots=2,maxmem=1G"};
              },
          .make = [](TestQemu& qemu, const Images&) -> Status {
            TRY(run(qemu, "object-add", {{"qom-type", "memory-backend-ram"}, {"id", "m1"}, {"size", 128 * kMiB}}));
            return run(qemu, "device_add", {{"driver", "pc-dimm"}, {"id", "dimm1"}, {"memdev", "m1"}});
          },
          .says = {"memory device dimm 'dimm1'", "device 'dimm1' (pc-dimm) has been added"},
          .holds = [](TestQemu& qemu) { return has_device(qemu, "dimm1"); },
          .next = [](TestQemu&, const Images&) -> Result<std::optional<Words>> { return std::nullopt; }};
}

Change cpu() {
  return {
      .name = "cpu",
      .parts =
          [](const Images&) {
            return Words{"-smp", "1,sockets=2,cores=1,threads=1,maxcpus=2"};
          },
      .make =
          [](TestQemu& qemu, const Images&) {
            return run(
                qemu, "device_add",
                {{"driver", "qemu64-x86_64-cpu"}, {"id", "cpu1"}, {"socket-id", 1}, {"core-id", 0}, {"thread-id", 0}});
          },
      .says = {"CPU '1'", "has been added"},
      .holds = [](TestQemu& qemu) { return has_device(qemu, "cpu1"); },
      .next = [](TestQemu&, const Images&) -> Result<std::optional<Words>> { return std::nullopt; }};
}

Change writable_export() {
  return {.name = "writable_export",
          .parts = [](const Images& images) { return disk(images.raw("base.raw")); },
          .make = [](TestQemu& qemu, const Images& images) -> Status {
            TRY(run(qemu, "nbd-server-start", {{"addr", {{"type", "unix"}, {"data", {{"path", images.at("nbd")}}}}}}));
            const Json drives = TRY(qemu.monitor().execute("query-block"));
            return run(qemu, "block-export-add",
                       {{"type", "nbd"},
                        {"id", "e0"},
                        {"node-name", drives.at(0).at("inserted").at("node-name")},
                        {"writable", true}});
          },
          .says = {"nbd export 'e0'", "others can write", "block-export-del"},
          .holds = [](TestQemu& qemu) -> Status {
            const Json exports = TRY(qemu.monitor().execute("query-block-exports"));
            return exports.size() == 1 ? Status{} : otherwise("the exports are " + exports.dump());
          },
          .next = [](TestQemu& qemu, const Images& images) -> Result<std::optional<Words>> {
            TRY(run(qemu, "nbd-server-stop"));
            return disk(images.at("base.raw"));
          }};
}

/// This test's own process: as good as a second QEMU with the same file.
Change process() {
  const auto mapped = std::make_shared<void*>(nullptr);
  return {.name = "process",
          .parts = [](const Images&) { return Words{}; },
          .make = [mapped](TestQemu& qemu, const Images&) -> Status {
            *mapped = TRY(map_ram(qemu));
            return {};
          },
          .says = {fmt::format("(pid {}) maps RAM block 'pc.ram'", ::getpid())},
          .holds = [](TestQemu&) { return Status{}; },
          .next = [mapped](TestQemu&, const Images&) -> Result<std::optional<Words>> {
            ::munmap(*mapped, kMiB);
            return Words{};
          }};
}

/// The engine is stopped when memory is being copied; the operator has all the time in the world.
void change_while_copying(const Change& change, QemuVersion version) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  const Images images{folder.path()};
  QemuOptions options = quiet_vm();
  options.version = version;
  options.more = change.parts(images);
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("copying", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(scene->change_source([&](TestQemu& qemu) { return change.make(qemu, images); }));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs(change.says));
  ASSERT_OK(change.holds(scene->source()));
  ASSIGN_OR_FAIL(next, change.next(scene->source(), images));
  if (!next) return;
  options.more = *next;
  scene->next_sink(options);
  ASSERT_OK(scene->expect_next_migration_succeeds());
}

class ChangedDestination : public ::testing::TestWithParam<QemuVersion> {};

/// What was compared with the source must still be there when the destination says that it is prepared.
TEST_P(ChangedDestination, IsRefusedByNameAndTheSourceGoesOn) {
  QemuOptions options = quiet_vm();
  options.version = GetParam();
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("copying", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(run(scene->sink(), "device_add", {{"driver", "e1000"}, {"id", "nic1"}, {"addr", "0x10"}, {"romfile", ""}}));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(
      scene->expect_source_runs({"the destination's QEMU has been changed", "device 'nic1' (e1000) has been added"}));
  ASSERT_OK(scene->expect_next_migration_succeeds());
}

INSTANTIATE_TEST_SUITE_P(Qemu, ChangedDestination, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

struct Case {
  Change (*change)();
  QemuVersion version;
};

class Changes : public ::testing::TestWithParam<Case> {};
class ChangesLong : public ::testing::TestWithParam<Case> {};

TEST_P(Changes, EndTheMoveByName) {
  change_while_copying(GetParam().change(), GetParam().version);
}
TEST_P(ChangesLong, EndTheMoveByName) {
  change_while_copying(GetParam().change(), GetParam().version);
}

const auto name = [](const auto& tested) {
  return std::string(tested.param.change().name) + (tested.param.version == QemuVersion::k7_2 ? "_7_2" : "_10_0");
};
INSTANTIATE_TEST_SUITE_P(Of, Changes,
                         ::testing::Values(Case{snapshot, QemuVersion::k7_2}, Case{snapshot, QemuVersion::k10_0},
                                           Case{mirror, QemuVersion::k7_2}, Case{mirror, QemuVersion::k10_0},
                                           Case{medium, QemuVersion::k10_0}, Case{card, QemuVersion::k7_2},
                                           Case{process, QemuVersion::k7_2}),
                         name);
INSTANTIATE_TEST_SUITE_P(
    Of, ChangesLong,
    ::testing::Values(Case{pivot, QemuVersion::k7_2}, Case{pivot, QemuVersion::k10_0}, Case{medium, QemuVersion::k7_2},
                      Case{card, QemuVersion::k10_0}, Case{plugged_disk, QemuVersion::k7_2},
                      Case{plugged_disk, QemuVersion::k10_0}, Case{unplugged_disk, QemuVersion::k7_2},
                      Case{unplugged_disk, QemuVersion::k10_0}, Case{dimm, QemuVersion::k7_2},
                      Case{dimm, QemuVersion::k10_0}, Case{cpu, QemuVersion::k7_2}, Case{cpu, QemuVersion::k10_0},
                      Case{writable_export, QemuVersion::k7_2}, Case{writable_export, QemuVersion::k10_0},
                      Case{process, QemuVersion::k10_0}),
    name);

/// Where the engine is stopped, and what is done then.
struct Late {
  const char* milestone;
  QemuVersion version;
};

class LateChanges : public ::testing::TestWithParam<Late> {
 protected:
  void stop_at_milestone(const Words& parts, std::unique_ptr<Scene>& out) {
    QemuOptions options = quiet_vm();
    options.version = GetParam().version;
    options.more = parts;
    ASSIGN_OR_SKIP(scene, Scene::make(options));
    ASSERT_OK(scene->receive());
    ASSERT_OK(scene->send(failing_at(GetParam().milestone, "stop")));
    ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
    out = std::move(scene);
  }
};
class ChangesAfterTheLook : public LateChanges {};
class ChangesInThePause : public LateChanges {};

/// QEMU 7.2 aborts if it is asked to migrate now: a job that goes on writes to disks that it has given up.
TEST_P(ChangesAfterTheLook, AJobIsNotHandedOver) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  const Images images{folder.path()};
  std::unique_ptr<Scene> scene;
  ASSERT_NO_FATAL_FAILURE(stop_at_milestone(disk(images.raw("base.raw")), scene));
  if (!scene) return;  // skipped
  ASSERT_OK(scene->change_source([&](TestQemu& qemu) { return start_mirror(qemu, images); }));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"job 'd0' (mirror"}));
  ASSERT_OK(job_goes_on(scene->source()));
}

TEST_P(ChangesInThePause, AMediumIsFound) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  const Images images{folder.path()};
  std::unique_ptr<Scene> scene;
  ASSERT_NO_FATAL_FAILURE(stop_at_milestone(medium().parts(images), scene));
  if (!scene) return;
  ASSERT_OK(scene->change_source([&](TestQemu& qemu) { return medium().make(qemu, images); }));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"a medium has been inserted into drive 'cd'"}));
  ASSERT_OK(medium().holds(scene->source()));
}

INSTANTIATE_TEST_SUITE_P(At, ChangesAfterTheLook,
                         ::testing::Values(Late{"handing-over", QemuVersion::k7_2},
                                           Late{"handing-over", QemuVersion::k10_0}),
                         [](const auto& tested) {
                           return godwit::testing::name_of(tested.param.version) == "7.2" ? "v7_2" : "v10_0";
                         });
INSTANTIATE_TEST_SUITE_P(At, ChangesInThePause, ::testing::Values(Late{"devices-sent", QemuVersion::k7_2}),
                         [](const auto&) { return "v7_2"; });

class BeforeTheMove : public ::testing::TestWithParam<QemuVersion> {};

TEST_P(BeforeTheMove, AJobIsRefused) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  const Images images{folder.path()};
  QemuOptions options = quiet_vm();
  options.version = GetParam();
  options.more = disk(images.raw("base.raw"));
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->change_source([&](TestQemu& qemu) { return start_mirror(qemu, images); }));
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->sender().wait(seconds(60)));
  scene->receiver().process().kill();
  ASSERT_OK(scene->expect_source_runs({"cannot be moved", "job 'd0' (mirror", "job-cancel"}));
  ASSERT_OK(job_goes_on(scene->source()));
}

INSTANTIATE_TEST_SUITE_P(Qemu, BeforeTheMove, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

/// The engine at either end is stopped at a milestone, the operator changes the VM, and the engine is killed. Once
/// the guest is about to be stopped QEMU takes no snapshot any more, but a medium can still be inserted.
class ChangedAndKilledLong : public ::testing::TestWithParam<std::pair<Kill, Change (*)()>> {};

TEST_P(ChangedAndKilledLong, TheGuestRunsOnAsItsOperatorMadeIt) {
  const Kill& kill = GetParam().first;
  const Change change = GetParam().second();
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  const Images images{folder.path()};
  QemuOptions options = quiet_vm();
  options.version = kill.version;
  options.more = change.parts(images);
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  const SettingsOfBoth before = settings_of(*scene);
  ASSERT_OK(stop_engine(*scene, kill));
  ASSERT_OK(scene->change_source([&](TestQemu& qemu) { return change.make(qemu, images); }));
  ASSERT_OK(kill_engine(*scene, kill));
  ASSIGN_OR_FAIL(said, recover(*scene, kill, before));
  EXPECT_EQ(scene->source().status().value_or("?"), "running") << said.source;
  ASSERT_OK(scene->expect_sink_does_not_run());
  ASSERT_OK(change.holds(scene->source()));
  ASSERT_OK(expect_guest_works(scene->source()));
  ASSIGN_OR_FAIL(next, change.next(scene->source(), images));
  options.more = *next;
  scene->next_sink(options);
  ASSERT_OK(scene->expect_next_migration_succeeds());
  ASSERT_OK(change.holds(scene->sink()));
}

std::vector<std::pair<Kill, Change (*)()>> changes_and_kills() {
  std::vector<std::pair<Kill, Change (*)()>> all;
  const auto add = [&](const std::vector<Kill>& kills, Change (*change)()) {
    for (const Kill& kill : kills) all.emplace_back(kill, change);
  };
  add(kills_of(Side::kSource, "attached", "handing-over"), snapshot);
  add(kills_of(Side::kSource, "attached", "handing-over"), card);
  add(kills_of(Side::kSource, "stopped", "prepared"), medium);
  add(kills_of(Side::kSink, "greeted", "mapped"), snapshot);
  // A source whose sink is prepared has committed while the operator is still typing.
  add(kills_of(Side::kSink, "last-fence", "loaded"), medium);
  return all;
}
INSTANTIATE_TEST_SUITE_P(At, ChangedAndKilledLong, ::testing::ValuesIn(changes_and_kills()), [](const auto& tested) {
  return std::string(tested.param.second().name) + "_" + name_of(tested.param.first);
});

}  // namespace
}  // namespace godwit::testing
