// Each connection carries little, as by a window on a long path: a move opens more of them while memory is copied.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>

#include "tests/integration/scene.h"
#include "tests/support/cutting_relay.h"

namespace godwit::testing {
namespace {

/// As many as a move begins with (default_lanes()).
unsigned lanes_at_first() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const unsigned cpus = ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set)) : 1;
  return std::clamp(cpus, 1U, std::clamp(cpus / 2, 4U, 8U));
}

/// Some 48 MiB of cold memory, for 75 s if nothing changes.
TEST(MoreLanesLong, AMoveOpensThemWhereEachCarriesLittle) {
  QemuOptions busy = quiet_vm();
  busy.guest_line = "work=256K cold=64M:48M stride=64 rate=4000";
  ASSIGN_OR_SKIP(scene, Scene::make(busy));
  ASSERT_OK(scene->receive());
  ASSIGN_OR_FAIL(address, parse_address(scene->address()));
  CuttingRelay relay(address, BitRate{5'500'000 / lanes_at_first()});
  GodwitOptions send;
  send.arguments = {"--codec", "raw", "--max-downtime", "2s", "--link-patience", "30s"};
  ASSERT_OK(scene->send_to(format_address(relay.address()), send));
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->receiver().errors(), fmt::format("the source goes on with {} lanes", 2 * lanes_at_first())))
      << scene->receiver().errors();
  EXPECT_FALSE(says(scene->receiver().errors(), "lost")) << scene->receiver().errors();
  EXPECT_FALSE(says(scene->sender().errors(), "lost")) << scene->sender().errors();
}

}  // namespace
}  // namespace godwit::testing
