// Bit identity: with the source's engine stopped where both sides are prepared, RAM is the same on both, page by page.
#include <ostream>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

struct Shape {
  Ram from;
  Ram to;
  QemuVersion source;
  QemuVersion sink;
  unsigned nodes;
  std::uint64_t size;
};

std::string name_of_shape(const Shape& shape) {
  std::string text = name_of(shape.from) + "_to_" + name_of(shape.to) + "_qemu" + name_of(shape.source) + "_" +
                     name_of(shape.sink) + "_" + std::to_string(shape.nodes) + "nodes_" +
                     std::to_string(shape.size / kMiB) + "MiB";
  for (char& c : text) {
    if (c == '.') c = '_';
  }
  return text;
}

void PrintTo(const Shape& shape, std::ostream* out) {
  *out << name_of_shape(shape);
}

QemuOptions vm_of(const Shape& shape, Ram ram, QemuVersion version) {
  QemuOptions options;
  options.ram = ram;
  options.version = version;
  options.size = shape.size;
  options.nodes = shape.nodes;
  options.guest = guest_image();
  // Most of RAM stays a hole. Above 4 GiB too where there is any.
  options.guest_line = "work=4M hot=70M:2M cold=110M:4M rate=3000 zeros=5";
  if (shape.size > 4 * kGiB) options.guest_line += " hot=4G:2M cold=3070M:2M cold=5G:2M";
  return options;
}

void run(const Shape& shape) {
  ASSIGN_OR_SKIP(huge, HugePages::for_vms(2, shape.from == Ram::kHugetlbfs ? shape.from : shape.to, shape.size));
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(shape, shape.from, shape.source), vm_of(shape, shape.to, shape.sink)));
  GodwitOptions options = failing_at("prepared", "stop");
  options.arguments = {"--max-downtime", "2s"};
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(120)));
  EXPECT_NE(scene->source().status().value_or("?"), "running");
  EXPECT_NE(scene->sink().status().value_or("?"), "running");
  ASSIGN_OR_FAIL(ram, compare_ram(scene->source(), scene->sink()));
  EXPECT_TRUE(ram.equal()) << ram.describe();
  EXPECT_EQ(ram.pages, shape.size / 4096);
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_moved());
}

class BitIdentity : public ::testing::TestWithParam<Shape> {};
TEST_P(BitIdentity, HoldsWhenPrepared) {
  run(GetParam());
}

class BitIdentityLong : public BitIdentity {};
TEST_P(BitIdentityLong, HoldsWhenPrepared) {
  run(GetParam());
}

constexpr auto k7 = QemuVersion::k7_2;
constexpr auto k10 = QemuVersion::k10_0;
const Shape kQuick[] = {
    {Ram::kPrivate, Ram::kPrivate, k7, k7, 1, 128 * kMiB},   {Ram::kFile, Ram::kFile, k7, k7, 1, 128 * kMiB},
    {Ram::kMemfd, Ram::kMemfd, k7, k7, 1, 128 * kMiB},       {Ram::kHugetlbfs, Ram::kHugetlbfs, k7, k7, 1, 128 * kMiB},
    {Ram::kPrivate, Ram::kPrivate, k10, k10, 1, 128 * kMiB}, {Ram::kMemfd, Ram::kMemfd, k10, k10, 1, 128 * kMiB},
    {Ram::kMemfd, Ram::kFile, k7, k10, 1, 128 * kMiB},       {Ram::kFile, Ram::kFile, k7, k7, 2, 128 * kMiB},
    {Ram::kFile, Ram::kFile, k7, k7, 1, 5 * kGiB},           {Ram::kPrivate, Ram::kPrivate, k7, k7, 2, 5 * kGiB},
};

std::vector<Shape> all_shapes() {
  std::vector<Shape> shapes;
  for (Ram ram : {Ram::kPrivate, Ram::kFile, Ram::kMemfd, Ram::kHugetlbfs}) {
    for (const auto& [source, sink] : {std::pair(k7, k7), {k10, k10}, {k7, k10}}) {
      for (unsigned nodes : {1u, 2u}) {
        for (std::uint64_t size : {256 * kMiB, 5 * kGiB}) {
          // 5 GiB of huge pages twice would be most of a small machine.
          if (ram == Ram::kHugetlbfs && size > kGiB) continue;
          shapes.push_back({ram, ram, source, sink, nodes, size});
        }
      }
    }
  }
  for (Ram to : {Ram::kPrivate, Ram::kMemfd, Ram::kHugetlbfs}) {
    shapes.push_back({Ram::kFile, to, k7, k7, 1, 256 * kMiB});
    shapes.push_back({to, Ram::kFile, k7, k10, 1, 256 * kMiB});
  }
  return shapes;
}

const auto name = [](const auto& tested) { return name_of_shape(tested.param); };
INSTANTIATE_TEST_SUITE_P(Of, BitIdentity, ::testing::ValuesIn(kQuick), name);
INSTANTIATE_TEST_SUITE_P(Of, BitIdentityLong, ::testing::ValuesIn(all_shapes()), name);

}  // namespace
}  // namespace godwit::testing
