// The disk's server hangs when the guest is to be handed over: QEMU stops the guest's CPUs and then waits for its disk,
// with its monitor silent. The move is given up within seconds, and the guest runs on as soon as the disk returns.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

class HangingDisk : public ::testing::TestWithParam<QemuVersion> {
 protected:
  /// A QEMU that runs no guest and serves a disk image to others.
  Status serve_disk() {
    folder_ = TRY(TempFolder::make("/tmp"));
    const auto image = folder_.path() / "disk";
    TRY(make_guest_disk(image, 32 * kMiB));
    QemuOptions options;
    options.size = 16 * kMiB;
    options.more = {"-S", "-blockdev", "driver=file,node-name=disk,read-only=on,filename=" + image.string()};
    server_ = TRY(TestQemu::start(options));
    const Json address = {{"type", "unix"}, {"data", {{"path", socket()}}}};
    TRY(server_->monitor().execute("nbd-server-start", {{"addr", address}}));
    TRY(server_->monitor().execute("block-export-add", {{"type", "nbd"}, {"id", "disk"}, {"node-name", "disk"}}));
    return {};
  }
  std::string socket() const { return (folder_.path() / "nbd").string(); }
  QemuOptions vm() const {
    QemuOptions options = quiet_vm();
    options.version = GetParam();
    options.guest_line = "work=256K rate=4000 disk=1 pool=8M";
    options.more = {"-drive", "file=nbd+unix:///disk?socket=" + socket() + ",if=none,id=disk0,format=raw,readonly=on",
                    "-device", "virtio-blk-pci,drive=disk0"};
    return options;
  }

  TempFolder folder_;
  std::unique_ptr<TestQemu> server_;
};

TEST_P(HangingDisk, IsNotWaitedForWithTheGuestPaused) {
  ASSIGN_OR_SKIP(program, find_qemu(GetParam()));
  ASSERT_OK(serve_disk());
  ASSIGN_OR_SKIP(scene, Scene::make(vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("handing-over", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(server_->process().send_signal(SIGSTOP));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  // The destination is told, and does not wait for what will not come.
  ASSIGN_OR_FAIL(received, scene->receiver().wait(seconds(60)));
  EXPECT_EQ(received.code, 1) << scene->receiver().errors();
  EXPECT_TRUE(says(scene->receiver().errors(), "disks")) << scene->receiver().errors();
  // The operator is told what is waited for, and that nothing is lost.
  const bool told = wait_until([&] { return says(scene->sender().errors(), "QEMU does not answer"); }, seconds(60));
  EXPECT_TRUE(told) << scene->sender().errors();
  EXPECT_TRUE(scene->sender().process().alive());
  ASSERT_OK(server_->process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_source_runs({"disks"}));
}

INSTANTIATE_TEST_SUITE_P(Of, HangingDisk, ::testing::Values(QemuVersion::k7_2), [](const auto&) { return "v7_2"; });
INSTANTIATE_TEST_SUITE_P(OfLong, HangingDisk, ::testing::Values(QemuVersion::k10_0),
                         [](const auto&) { return "v10_0"; });

}  // namespace
}  // namespace godwit::testing
