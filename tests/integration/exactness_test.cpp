// Exactness: a guest that verifies every word it wrote moves to and fro, and never finds one wrong.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

struct Course {
  const char* name;
  bool kvm;
  unsigned cpus;
  Ram ram;
  const char* guest_line;
  std::vector<std::string> arguments;
  const char* meets = "pages_data";  ///< what the report must have some of
  std::uint64_t ram_size = 128 * kMiB;
};

void PrintTo(const Course& course, std::ostream* out) {
  *out << course.name;
}

// Words of a page are few under KVM: where this suite was written KVM emulates each instruction of such a guest, and
// then it is the number of pages written that puts tracking to the test. They lie in some of a page's sub-blocks only,
// which puts deltas to it.
const Course kCourses[] = {
    {"KvmFile", true, 1, Ram::kFile, "work=16M cold=64M:8M stride=512 zeros=7", {"--codec", "zstd:1"}, "pages_delta"},
    {"KvmGoverned",
     true,
     1,
     Ram::kFile,
     "work=16M cold=64M:8M stride=1024",
     {"--bandwidth", "400Mbit"},
     "bytes_compressed"},
    {"KvmPrivate", true, 1, Ram::kPrivate, "work=16M stride=1024", {"--codec", "raw", "--lanes", "3"}, "pages_delta"},
    {"KvmStream",  // large enough for QEMU to begin with its own pass while the lanes copy
     true,
     1,
     Ram::kPrivate,
     "work=16M cold=64M:8M stride=1024",
     {"--devices", "stream", "--bandwidth", "400Mbit"},
     "hypervisor_ram_bytes",
     1536 * kMiB},
    {"TcgFlatOut", false, 1, Ram::kFile, "work=8M cold=64M:8M zeros=7", {"--codec", "lz4", "--delta-memory", "300KiB"}},
    {"TcgFourCpus", false, 4, Ram::kMemfd, "work=4M cpus=4 cold=64M:8M soft=1", {"--codec", "zstd"}},
};

QemuOptions vm_of(const Course& course) {
  QemuOptions options;
  options.size = course.ram_size;
  options.guest = guest_image();
  options.guest_line = course.guest_line;
  options.kvm = course.kvm;
  options.cpus = course.cpus;
  options.ram = course.ram;
  return options;
}

/// `hops` migrations one after the other, each from where the last one ended to a QEMU that is new.
void run(const Course& course, unsigned hops) {
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(course)));
  for (unsigned hop = 0; hop < hops; ++hop) {
    SCOPED_TRACE("hop " + std::to_string(hop));
    GodwitOptions options;
    options.arguments = course.arguments;
    // What is measured here is exactness: a busy machine may take its time.
    options.arguments.insert(options.arguments.end(), {"--max-downtime", "2s"});
    ASSERT_OK(scene->receive());
    ASSERT_OK(scene->send(options));
    ASSERT_OK(scene->expect_moved());
    ASSERT_OK(scene->expect_some(course.meets));
    ASSIGN_OR_FAIL(next, Scene::from(scene->take_sink(), vm_of(course)));
    scene = std::move(next);
  }
}

class Exactness : public ::testing::TestWithParam<Course> {};
TEST_P(Exactness, HoldsThereAndBack) {
  run(GetParam(), 2);
}

class ExactnessLong : public ::testing::TestWithParam<Course> {};
TEST_P(ExactnessLong, HoldsTwentyTimesThereAndBack) {
  run(GetParam(), 40);
}

const auto name = [](const auto& tested) { return std::string(tested.param.name); };
INSTANTIATE_TEST_SUITE_P(On, Exactness, ::testing::ValuesIn(kCourses), name);
INSTANTIATE_TEST_SUITE_P(On, ExactnessLong, ::testing::ValuesIn(kCourses), name);

}  // namespace
}  // namespace godwit::testing
