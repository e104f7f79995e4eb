// Where devices leave QEMU by its stream, video memory goes through it too: what of it is left when QEMU stops the
// guest lies in the pause. So QEMU must know how fast the link is, and a guest that repaints faster is not stopped for
// long but said not to converge.
#include <iostream>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

// Where SeaBIOS puts the framebuffer of the only PCI device of this machine: 0xfd000000.
constexpr const char* kFramebuffer = "4244635648";

QemuOptions painter(QemuVersion version, const std::string& size, unsigned rate) {
  QemuOptions options = quiet_vm();
  options.version = version;
  options.guest_line = std::string("hot=") + kFramebuffer + ":" + size + " rate=" + std::to_string(rate);
  options.more = {"-device", "VGA,vgamem_mb=16"};
  return options;
}

class VideoMemory : public ::testing::TestWithParam<QemuVersion> {};

TEST_P(VideoMemory, IsSentBeforeTheGuestIsStopped) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{100'000'000}));
  ASSIGN_OR_SKIP(scene, Scene::make(painter(GetParam(), "12M", 100)));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  GodwitOptions options;
  options.arguments = {"--devices", "stream", "--timeout", "100s"};
  ASSERT_OK(scene->send(options));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(120)));
  ASSERT_EQ(sent.code, 0) << scene->sender().errors();
  EXPECT_EQ(scene->sink().status().value_or("?"), "running");
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_GT(report.value("bytes_devices", std::uint64_t{0}), 12 * kMiB);
  // At this rate 50 ms are 600 kB, and the devices themselves some 300 kB.
  EXPECT_GT(report.value("bytes_devices_in_pause", std::uint64_t{0}), 0u);
  EXPECT_LT(report.value("bytes_devices_in_pause", std::uint64_t{0}), 2 * kMiB);
}

/// So little that the kernel's buffers take all of it at once: a QEMU that writes into them sees no link at all.
TEST_P(VideoMemory, ThatFitsIntoBuffersIsNotLeftForThePause) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{100'000'000}));
  ASSIGN_OR_SKIP(scene, Scene::make(painter(GetParam(), "3M", 0)));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  GodwitOptions options;
  options.arguments = {"--devices", "stream", "--timeout", "10s", "--max-downtime", "50ms"};
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->expect_source_runs({"did not converge", "video memory"}));
}

/// Where they go directly it is the lanes' like all RAM, compressed too, and the pause is what was asked for.
TEST(VideoMemoryDirectly, IsMovedLikeAllRam) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{100'000'000}));
  for (const char* size : {"3M", "12M"}) {
    ASSIGN_OR_SKIP(scene, Scene::make(painter(QemuVersion::k10_0, size, 0)));
    scene->use(*lab);
    ASSERT_OK(scene->receive());
    GodwitOptions options;
    options.arguments = {"--devices", "direct", "--timeout", "60s", "--max-downtime", "50ms"};
    ASSERT_OK(scene->send(options));
    ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(120)));
    ASSERT_EQ(sent.code, 0) << scene->sender().errors();
    EXPECT_EQ(scene->sink().status().value_or("?"), "running");
    ASSIGN_OR_FAIL(report, scene->sender().report());
    EXPECT_EQ(report.value("devices", ""), "direct");
    EXPECT_LT(report.value("bytes_devices", std::uint64_t{0}), 256 * kKiB);
    EXPECT_GT(report.value("ram_bytes", std::uint64_t{0}), scene->source().options().size + 16 * kMiB);
    std::cout << "painting " << size << ": pause " << report.value("pause_us", 0) << " us, total "
              << report.value("total_us", 0) << " us\n";
  }
}

class VideoMemoryLong : public ::testing::TestWithParam<QemuVersion> {};

TEST_P(VideoMemoryLong, ThatIsRepaintedFasterThanTheLinkIsSaidNotToConverge) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{100'000'000}));
  ASSIGN_OR_SKIP(scene, Scene::make(painter(GetParam(), "12M", 0)));
  scene->use(*lab);
  ASSERT_OK(scene->receive());
  GodwitOptions options;
  options.arguments = {"--devices", "stream", "--timeout", "40s"};
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->expect_source_runs({"did not converge", "video memory"}));
}

const auto name = [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; };
INSTANTIATE_TEST_SUITE_P(Of, VideoMemory, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0), name);
INSTANTIATE_TEST_SUITE_P(Of, VideoMemoryLong, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0), name);

}  // namespace
}  // namespace godwit::testing
