// A destination that has been loaded and does not run sends no frame: switches go on sending to the source, which may
// have to go on.
//
// QEMU makes its announcements ready as soon as it has loaded, and holds them back until the guest runs; so what counts
// is what comes out at the far end of its network.
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "tests/integration/scene.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {
namespace {

/// The far end of a network card: a Unix datagram socket, a frame each.
class FarEnd {
 public:
  explicit FarEnd(const std::filesystem::path& path)
      : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string text = path.string();
    EXPECT_LT(text.size(), sizeof address.sun_path);
    std::memcpy(address.sun_path, text.data(), text.size());
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  /// Frames that have come since the last call.
  unsigned frames() {
    unsigned count = 0;
    char frame[2048];
    while (::recv(socket_.get(), frame, sizeof frame, 0) >= 0) ++count;
    return count;
  }

 private:
  UniqueFd socket_;
};

class SilentDestination : public ::testing::TestWithParam<QemuVersion> {
 protected:
  void SetUp() override {
    auto folder = TempFolder::make("/tmp");
    ASSERT_OK(folder);
    folder_ = std::move(*folder);
  }
  std::filesystem::path far_end(const std::string& side, const char* card) const {
    return folder_.path() / (side + card + ".far");
  }
  QemuOptions vm(const std::string& side) const {
    QemuOptions options = quiet_vm();
    options.version = GetParam();
    for (const char* card : {"virtio-net-pci", "e1000"}) {
      const auto near = folder_.path() / (side + card + ".near");
      options.more.insert(options.more.end(),
                          {"-netdev",
                           fmt::format("dgram,id={},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                                       card, near.string(), far_end(side, card).string()),
                           "-device", fmt::format("{},netdev={},romfile=", card, card)});
    }
    return options;
  }
  TempFolder folder_;
};

TEST_P(SilentDestination, SendsNoFrameBeforeItRuns) {
  FarEnd virtio(far_end("sink", "virtio-net-pci"));
  FarEnd e1000(far_end("sink", "e1000"));
  ASSIGN_OR_SKIP(scene, Scene::make(vm("source"), vm("sink")));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(failing_at("prepared", "stop")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  // Loaded, and it is paused: longer than QEMU's five announcements take.
  nap(seconds(2) + milliseconds(500));
  EXPECT_EQ(scene->sink().status().value_or("?"), "paused");
  EXPECT_EQ(virtio.frames(), 0U);
  EXPECT_EQ(e1000.frames(), 0U);
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->sender().wait(seconds(60)));
  // When it runs it announces itself, which shows that frames are seen.
  EXPECT_TRUE(wait_until([&] { return e1000.frames() > 0; }, seconds(30)));
}

INSTANTIATE_TEST_SUITE_P(Qemu, SilentDestination, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
