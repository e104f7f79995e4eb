// Post-copy: a guest that writes faster than the link carries runs at the destination before all of it is there, and
// never reads a wrong word.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

struct Guest {
  std::string name;
  Ram ram = Ram::kMemfd;
  QemuVersion version = QemuVersion::k7_2;
  unsigned cpus = 1;
  std::string codec = "raw";
  std::vector<std::string> arguments = {};  ///< of send
};

void PrintTo(const Guest& guest, std::ostream* out) {
  *out << guest.name;
}

QemuOptions vm_of(const Guest& guest) {
  QemuOptions options;
  options.size = 128 * kMiB;
  options.guest = guest_image();
  options.guest_line = guest.cpus > 1 ? "work=4M cpus=4 cold=64M:8M soft=1" : "work=16M cold=64M:8M zeros=7";
  options.ram = guest.ram;
  options.version = guest.version;
  options.cpus = guest.cpus;
  return options;
}

/// Raw and slow: what the guest writes meanwhile never fits into a pause.
GodwitOptions too_slow_a_link(const Guest& guest) {
  GodwitOptions options;
  options.arguments = {"--codec",       guest.codec, "--delta-memory", "0",  "--bandwidth",    "60Mbit",
                       "--on-deadline", "postcopy",  "--deadline",     "1s", "--max-downtime", "5ms"};
  options.arguments.insert(options.arguments.end(), guest.arguments.begin(), guest.arguments.end());
  return options;
}

class Postcopy : public ::testing::TestWithParam<Guest> {};

TEST_P(Postcopy, LosesNoWord) {
  ASSIGN_OR_SKIP(huge, HugePages::for_vms(3, GetParam().ram, vm_of(GetParam()).size));
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam())));
  for (unsigned hop = 0; hop < 2; ++hop) {
    SCOPED_TRACE("hop " + std::to_string(hop));
    ASSERT_OK(scene->receive());
    ASSERT_OK(scene->send(too_slow_a_link(GetParam())));
    ASSERT_OK(scene->expect_moved());
    ASSERT_OK(scene->expect_some("pages_missing"));
    // What compresses well may have come before the guest touches it.
    if (GetParam().codec == "raw") ASSERT_OK(scene->expect_some("pages_asked_for"));
    ASSIGN_OR_FAIL(next, Scene::from(scene->take_sink(), vm_of(GetParam())));
    scene = std::move(next);
  }
}

const Guest kGuests[] = {
    {"Memfd", Ram::kMemfd},
    {"File", Ram::kFile},
    {"Private", Ram::kPrivate},
    {"PrivateByTheStream", Ram::kPrivate, QemuVersion::k7_2, 1, "raw", {"--devices", "stream"}},
    {"FourCpus", Ram::kMemfd, QemuVersion::k7_2, 4, "lz4", {"--lanes", "3"}},
    {"HugePages", Ram::kHugetlbfs, QemuVersion::k7_2, 4},
    {"Memfd10", Ram::kMemfd, QemuVersion::k10_0},
    {"Private10", Ram::kPrivate, QemuVersion::k10_0},
};
INSTANTIATE_TEST_SUITE_P(On, Postcopy, ::testing::ValuesIn(kGuests),
                         [](const auto& tested) { return tested.param.name; });

/// What a private mapping of a file shows where its pages have been taken away is the file, and nobody waits for it.
class PostcopyBrokenOffAhead : public ::testing::TestWithParam<Guest> {};

TEST(PostcopyRefused, WhereTheGuestIsInAFileThatIsMappedPrivately) {
  const Guest guest{"Memfd", Ram::kMemfd};
  QemuOptions options = vm_of(guest);
  options.share = false;
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(too_slow_a_link(guest)));
  ASSERT_OK(scene->expect_source_runs({"mapped privately", "--on-deadline"}));
}

/// A guest that comes later into this QEMU would wait for ever where the first one's memory was taken away.
TEST_P(PostcopyBrokenOffAhead, LeavesAQemuThatTakesInTheNextGuest) {
  const Guest& guest = GetParam();
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(guest)));
  GodwitOptions dies;
  dies.environment["GODWIT_FAILPOINT"] = "taken-ahead:kill";
  ASSERT_OK(scene->receive(dies));
  ASSERT_OK(scene->send(too_slow_a_link(guest)));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 1) << scene->sender().errors();
  EXPECT_EQ(scene->source().status().value_or(""), "running");
  ASSERT_TRUE(scene->sink().alive());
  ASSERT_OK(scene->receive());
  EXPECT_TRUE(says(scene->receiver().errors(), "a godwit died")) << scene->receiver().errors();
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

const Guest kAhead[] = {{"Memfd", Ram::kMemfd}, {"Private10", Ram::kPrivate, QemuVersion::k10_0}};
INSTANTIATE_TEST_SUITE_P(Of, PostcopyBrokenOffAhead, ::testing::ValuesIn(kAhead),
                         [](const auto& tested) { return tested.param.name; });

/// A commit that never arrives: what is there looks like the guest and lacks pages, so it must be gone.
TEST(PostcopyCut, BeforeTheCommitArrivesLeavesNothingAtTheDestinationThatCouldBeLetRun) {
  const Guest guest{"Memfd", Ram::kMemfd};
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(guest)));
  ASSERT_OK(scene->receive());
  GodwitOptions options = too_slow_a_link(guest);
  options.environment["GODWIT_FAILPOINT"] = "committed:kill";
  ASSERT_OK(scene->send(options));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.signal, SIGKILL);
  ASSIGN_OR_FAIL(received, scene->receiver().wait(seconds(60)));
  EXPECT_EQ(received.code, 1) << scene->receiver().errors();
  EXPECT_FALSE(scene->sink().alive());
}

/// The source is needed to the last page: nobody is told that it may be ended, and no vCPU reads zeros.
TEST(PostcopyCut, LeavesTheGuestWaitingAndSaysSo) {
  const Guest guest{"Memfd", Ram::kMemfd};
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(guest)));
  ASSERT_OK(scene->receive());
  GodwitOptions options = too_slow_a_link(guest);
  options.environment["GODWIT_FAILPOINT"] = "runs-early:kill";
  ASSERT_OK(scene->send(options));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.signal, SIGKILL);
  ASSIGN_OR_FAIL(received, scene->receiver().wait(seconds(60)));
  EXPECT_EQ(received.code, 7) << scene->receiver().errors();
  EXPECT_TRUE(says(scene->receiver().errors(), "Do not end QEMU on either host")) << scene->receiver().errors();
}

}  // namespace
}  // namespace godwit::testing
