// A VM of more CPUs and RAM blocks than people usually have moves like any other, exactly.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

void move(QemuVersion version) {
  QemuOptions options;
  options.version = version;
  options.size = 72 * 4 * kMiB;
  options.nodes = 72;  // each with a backend of its own
  options.ram = Ram::kMemfd;
  options.cpus = 80;
  options.guest = guest_image();
  options.guest_line = "work=2M cold=64M:2M rate=2000 zeros=5";
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  GodwitOptions send;
  send.arguments = {"--max-downtime", "5s"};
  ASSERT_OK(scene->send(send));
  ASSERT_OK(scene->expect_moved());
}

TEST(LargeVm, Of80CpusAnd72RamBlocksMoves) {
  move(QemuVersion::k7_2);
}
TEST(LargeVmLong, Of80CpusAnd72RamBlocksMovesOn10_0) {
  move(QemuVersion::k10_0);
}

}  // namespace
}  // namespace godwit::testing
