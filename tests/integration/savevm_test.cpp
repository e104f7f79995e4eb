// What QEMU saves once Godwit has moved its guest, or has begun to: a snapshot (savevm) holds all of the guest, from
// which it goes on (loadvm). Whatever a move leaves switched off in QEMU, blocks or settings, would show here.
#include <fmt/format.h>

#include <fstream>
#include <tuple>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

constexpr std::uint64_t kDiskSize = 64 * kMiB;

/// By a QEMU, since there need not be a qemu-img.
Status make_qcow2(const std::filesystem::path& path) {
  QemuOptions options;
  options.size = 32 * kMiB;
  options.ram = Ram::kPrivate;
  const auto maker = TRY(TestQemu::start(options));
  auto& monitor = maker->monitor();
  std::ofstream(path).flush();
  TRY(monitor.execute("blockdev-add", {{"driver", "file"}, {"node-name", "file"}, {"filename", path.string()}}));
  TRY(monitor.execute("blockdev-create",
                      {{"job-id", "make"}, {"options", {{"driver", "qcow2"}, {"file", "file"}, {"size", kDiskSize}}}}));
  std::string state, error;
  const auto concluded = [&] {
    const auto jobs = monitor.execute("query-jobs");
    if (!jobs || jobs->empty()) return false;
    state = jobs->front().value("status", "");
    error = jobs->front().value("error", "");
    return state == "concluded";
  };
  if (!wait_until(concluded, seconds(30)) || !error.empty()) {
    return fail(ErrorKind::kHypervisor, "no qcow2 image: " + state + " " + error);
  }
  return {};
}

/// A command of the human monitor that has nothing to say unless it fails.
Status order(TestQemu& qemu, const std::string& line) {
  const std::string said = TRY(qemu.monitor().human(line));
  return said.empty() ? Status{} : fail(ErrorKind::kHypervisor, line + ": " + said);
}

std::uint32_t passes_of(const GuestStatus& status) {
  return status.cpu[0].passes;
}

/// The guest counts its passes: after loadvm it has fewer than before it.
Status save_and_load(TestQemu& qemu) {
  TRY_IN("savevm", order(qemu, "savevm a"));
  const auto saved = TRY(read_guest_status(qemu));
  TRY_IN("after savevm", expect_guest_works(qemu));
  const auto later = TRY(read_guest_status(qemu));
  TRY(qemu.stop());
  TRY_IN("loadvm", order(qemu, "loadvm a"));
  const auto loaded = TRY(read_guest_status(qemu));
  if (passes_of(loaded) > passes_of(saved) || passes_of(later) <= passes_of(saved)) {
    return fail(ErrorKind::kProtocol, fmt::format("passes: saved at about {}, then {}, loaded {}", passes_of(saved),
                                                  passes_of(later), passes_of(loaded)));
  }
  TRY(qemu.go_on());
  TRY_IN("after loadvm", expect_guest_works(qemu));
  const std::string state = TRY(qemu.status());
  return state == "running" ? Status{} : fail(ErrorKind::kProtocol, "after loadvm it is " + state);
}

using Course = std::tuple<const char*, QemuVersion>;

class SavevmLong : public ::testing::TestWithParam<Course> {
 protected:
  void SetUp() override {
    const auto& [way, version] = GetParam();
    ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
    folder_ = std::move(folder);
    const auto image = folder_.path() / "disk.qcow2";
    ASSERT_OK(make_qcow2(image));
    QemuOptions options = quiet_vm();
    options.version = version;
    options.ram = Ram::kPrivate;
    options.more = {"-drive", "if=none,id=d,format=qcow2,file=" + image.string(), "-device", "virtio-blk-pci,drive=d"};
    ASSIGN_OR_SKIP(scene, Scene::make(options));
    scene_ = std::move(scene);
  }
  GodwitOptions options(const std::string& stop_at = "") const {
    GodwitOptions options;
    if (!stop_at.empty()) options = failing_at(stop_at, "stop");
    options.arguments = {"--devices", std::get<0>(GetParam()), "--max-downtime", "2s"};
    return options;
  }

  TempFolder folder_;
  std::unique_ptr<Scene> scene_;
};

TEST_P(SavevmLong, HoldsTheGuestThatWasMoved) {
  ASSERT_OK(scene_->receive());
  ASSERT_OK(scene_->send(options()));
  ASSERT_OK(scene_->expect_moved());
  ASSERT_OK(save_and_load(scene_->sink()));
}

/// The guest is paused, its disks may be the destination's already; then the destination is lost.
TEST_P(SavevmLong, HoldsTheGuestThatWasNotMoved) {
  ASSERT_OK(scene_->receive(failing_at("loaded", "stop")));
  ASSERT_OK(scene_->send(options()));
  ASSERT_OK(scene_->receiver().process().wait_until_stopped(seconds(60)));
  // Cancelled before the destination has said that it is prepared.
  ASSERT_OK(scene_->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene_->sender().wait(seconds(60)));
  scene_->sink().process().kill();
  ASSERT_OK(scene_->receiver().process().send_signal(SIGCONT));
  ASSERT_OK(scene_->expect_source_runs({"cancel|interrupt"}));
  ASSERT_OK(save_and_load(scene_->source()));
}

std::string name_of_course(const ::testing::TestParamInfo<Course>& tested) {
  const auto& [way, version] = tested.param;
  return std::string(way) + "_" + (version == QemuVersion::k7_2 ? "7" : "10");
}

INSTANTIATE_TEST_SUITE_P(All, SavevmLong,
                         ::testing::Combine(::testing::Values("direct", "stream"),
                                            ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0)),
                         name_of_course);

}  // namespace
}  // namespace godwit::testing
