// A destination that has been loaded and does not run sends no frame: switches go on sending to the source, which may
// have to go on.
#include <fmt/format.h>

#include "tests/integration/scene.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {
namespace {

// A capture file without a frame has its header only.
constexpr std::uintmax_t kEmptyCapture = 24;

class SilentDestination : public ::testing::TestWithParam<QemuVersion> {
 protected:
  QemuOptions vm(const std::string& side) const {
    QemuOptions options = quiet_vm();
    options.version = GetParam();
    const auto path = [&](const char* what) { return (folder_.path() / (side + what)).string(); };
    options.more = {"-netdev",
                    fmt::format("dgram,id=n,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                                path(".local"), path(".remote")),
                    "-object",
                    fmt::format("filter-dump,id=f,netdev=n,file={}", path(".pcap")),
                    "-device",
                    "virtio-net-pci,netdev=n,romfile=",
                    "-device",
                    "e1000,netdev=m,romfile=",
                    "-netdev",
                    fmt::format("dgram,id=m,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                                path(".local2"), path(".remote2")),
                    "-object",
                    fmt::format("filter-dump,id=g,netdev=m,file={}", path(".pcap2"))};
    return options;
  }
  std::uintmax_t captured(const std::string& name) const {
    std::error_code error;
    return std::filesystem::file_size(folder_.path() / name, error);
  }
  TempFolder folder_;
};

TEST_P(SilentDestination, SendsNoFrameBeforeItRuns) {
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  folder_ = std::move(folder);
  ASSIGN_OR_SKIP(scene, Scene::make(vm("source"), vm("sink")));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("prepared", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  // Loaded, and it stands: longer than QEMU's five announcements take.
  nap(seconds(2) + milliseconds(500));
  EXPECT_EQ(scene->sink().status().value_or("?"), "paused");
  EXPECT_EQ(captured("sink.pcap"), kEmptyCapture);
  EXPECT_EQ(captured("sink.pcap2"), kEmptyCapture);
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->sender().wait(seconds(60)));
  // When it runs it announces itself, which shows that the capture sees frames.
  EXPECT_TRUE(wait_until([&] { return captured("sink.pcap2") > kEmptyCapture; }, seconds(30)));
}

INSTANTIATE_TEST_SUITE_P(Qemu, SilentDestination, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
