// The harness on itself, with QEMU's own migration: it must see a guest that arrives whole, and one that does not.
#include <sys/uio.h>

#include "tests/integration/fixture.h"
#include "tests/support/net_lab.h"

namespace godwit::testing {
namespace {

QemuOptions small_vm() {
  QemuOptions options;
  options.size = 128 * kMiB;
  options.guest = guest_image();
  options.guest_line = "work=8M cold=64M:4M";
  return options;
}

/// Writes into a QEMU's guest RAM from outside, as a faulty migration would.
void damage(const TestQemu& qemu, std::uint64_t physical, std::uint32_t value) {
  iovec local{&value, sizeof(value)};
  iovec remote{reinterpret_cast<void*>(qemu.blocks()[0].address + physical), sizeof(value)};
  ASSERT_EQ(::process_vm_writev(qemu.pid(), &local, 1, &remote, 1, 0), static_cast<ssize_t>(sizeof(value)));
}

TEST(Harness, GuestGoesOnAfterQemusOwnMigration) {
  ASSIGN_OR_SKIP(pair, start_pair(small_vm()));
  ASSERT_OK(migrate_by_qemu(pair));
  ASSIGN_OR_FAIL(ram, compare_ram(*pair.source, *pair.sink));
  EXPECT_TRUE(ram.equal()) << ram.describe();
  EXPECT_GT(ram.pages_with_data, 12 * kMiB / 4096);
  ASSERT_OK(pair.sink->go_on());
  ASSERT_OK(expect_guest_works(*pair.sink));
}

TEST(Harness, SeesASingleWrongWord) {
  ASSIGN_OR_SKIP(pair, start_pair(small_vm()));
  ASSERT_OK(migrate_by_qemu(pair));
  damage(*pair.sink, 64 * kMiB + 12345 * 4, 0xdeadbeef);
  ASSIGN_OR_FAIL(ram, compare_ram(*pair.source, *pair.sink));
  ASSERT_EQ(ram.pages_different, 1u) << ram.describe();
  EXPECT_EQ(ram.first[0].offset, (64 * kMiB + 12345 * 4) / 4096 * 4096);
  ASSERT_OK(pair.sink->go_on());
  const auto works = expect_guest_works(*pair.sink, 100);
  ASSERT_FALSE(works.has_value()) << "the guest does not notice a wrong word";
  EXPECT_NE(works.error().message.find("ERRORS"), std::string::npos) << works.error().message;
}

TEST(Harness, SeesDataWhereTheOtherSideHasAHole) {
  QemuOptions options = small_vm();
  options.ram = Ram::kPrivate;
  ASSIGN_OR_SKIP(pair, start_pair(options));
  ASSERT_OK(migrate_by_qemu(pair));
  damage(*pair.sink, 100 * kMiB, 1);
  ASSIGN_OR_FAIL(ram, compare_ram(*pair.source, *pair.sink));
  EXPECT_EQ(ram.pages_different, 1u) << ram.describe();
}

TEST(Harness, FourCpusWorkEachOnItsStripe) {
  QemuOptions options = small_vm();
  options.cpus = 4;
  options.guest_line = "work=8M cpus=4 rate=2000 zeros=3 soft=1";
  ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
  ASSERT_OK(wait_for_guest(*qemu));
  ASSERT_OK(expect_guest_works(*qemu, 1));
  ASSIGN_OR_FAIL(status, read_guest_status(*qemu));
  EXPECT_EQ(status.cpus, 4u);
}

TEST(Harness, DiskGuestReadsWhatTheDiskHolds) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  QemuOptions options = small_vm();
  options.disk = folder.path() / "disk";
  ASSERT_OK(make_guest_disk(options.disk, 16 * kMiB));
  options.guest_line = "work=1M disk=1 pool=4M";
  ASSIGN_OR_SKIP(pair, start_pair(options));
  ASSERT_OK(migrate_by_qemu(pair));
  ASSIGN_OR_FAIL(ram, compare_ram(*pair.source, *pair.sink));
  EXPECT_TRUE(ram.equal()) << ram.describe();
  ASSERT_OK(pair.sink->go_on());
  ASSERT_OK(expect_guest_works(*pair.sink));
  ASSIGN_OR_FAIL(status, read_guest_status(*pair.sink));
  EXPECT_GT(status.disk.completed, 0u);
}

TEST(Harness, DiskGuestSeesALandingThatIsLost) {
  ASSIGN_OR_SKIP(folder, TempFolder::make("/tmp"));
  QemuOptions options = small_vm();
  options.disk = folder.path() / "disk";
  ASSERT_OK(make_guest_disk(options.disk, 16 * kMiB));
  options.guest_line = "work=1M disk=1 pool=32M";
  ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
  ASSERT_OK(wait_for_guest(*qemu));
  ASSERT_OK(expect_guest_works(*qemu));
  ASSERT_OK(qemu->stop());
  for (std::uint64_t at = 16 * kMiB; at < 48 * kMiB; at += kMiB) damage(*qemu, at + 400, 7);
  ASSERT_OK(qemu->go_on());
  const auto works = expect_guest_works(*qemu, 10);
  ASSERT_FALSE(works.has_value()) << "the guest does not notice a buffer that changed";
}

TEST(Harness, KvmGuestWorks) {
  QemuOptions options = small_vm();
  options.kvm = true;
  options.guest_line = "work=1M stride=256";
  ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
  ASSERT_OK(wait_for_guest(*qemu));
  ASSERT_OK(expect_guest_works(*qemu));
}

// Where KVM runs in a VM, a guest that halts between its writes may end with internal-error.
TEST(Harness, KvmGuestGoesSlowlyWithoutHalting) {
  QemuOptions options = small_vm();
  options.kvm = true;
  options.guest_line = "work=1M stride=256 rate=500 spin=1";
  ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
  ASSERT_OK(wait_for_guest(*qemu));
  ASSERT_OK(expect_guest_works(*qemu));
}

TEST(Harness, HugePagesAndNodesAndQemu10) {
  ASSIGN_OR_SKIP(huge, HugePages::allow(2 * 128 / 2 + 16));
  QemuOptions options = small_vm();
  options.ram = Ram::kHugetlbfs;
  options.nodes = 2;
  options.version = QemuVersion::k10_0;
  options.guest_line = "hot=32M:4M hot=70M:4M";
  ASSIGN_OR_SKIP(pair, start_pair(options));
  ASSERT_OK(migrate_by_qemu(pair));
  ASSIGN_OR_FAIL(ram, compare_ram(*pair.source, *pair.sink));
  EXPECT_TRUE(ram.equal()) << ram.describe();
  ASSERT_OK(pair.sink->go_on());
  ASSERT_OK(expect_guest_works(*pair.sink));
}

TEST(Harness, PagesAboveFourGigabytes) {
  QemuOptions options = small_vm();
  options.size = 5 * kGiB;
  options.cpus = 2;
  options.guest_line = "hot=32M:4M hot=3070M:2M hot=4G:4M cold=5G:4M cpus=2";
  ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
  ASSERT_OK(wait_for_guest(*qemu));
  ASSERT_OK(expect_guest_works(*qemu));
  ASSIGN_OR_FAIL(bytes, present_bytes(*qemu));
  EXPECT_LT(bytes, 64 * kMiB);
  ASSERT_OK(qemu->stop());
  ASSIGN_OR_FAIL(ram, compare_ram(*qemu, *qemu));
  EXPECT_EQ(ram.pages, 5 * kGiB / 4096);
  ASSIGN_OR_FAIL(after, present_bytes(*qemu));
  EXPECT_LE(after, bytes + 2 * kMiB) << "looking at holes filled them";
}

TEST(Harness, FootprintSeesADescriptorMore) {
  ASSIGN_OR_FAIL(before, Footprint::of(::getpid()));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSIGN_OR_FAIL(after, Footprint::of(::getpid()));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(before.grown_in(after), std::vector<std::string>{"2 x pipe:"});
  EXPECT_TRUE(after.grown_in(before).empty());
}

TEST(Harness, ChildrenEndWithTheTest) {
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  ChildOptions options;
  options.command = {"/bin/sleep", "1000"};
  options.environment["GODWIT_TEST_MARK"] = "harness-" + test_mark();
  options.output = options.errors = folder.path() / "out";
  pid_t pid = 0;
  {
    ASSIGN_OR_FAIL(child, ChildProcess::start(options));
    pid = child->pid();
    // The mark shows once the child has become the program.
    EXPECT_TRUE(wait_until([&] { return !processes_marked("GODWIT_TEST_MARK", "harness-" + test_mark()).empty(); },
                           seconds(10)));
    ASSERT_OK(child->send_signal(SIGSTOP));
    ASSERT_OK(child->wait_until_stopped(seconds(10)));
  }
  EXPECT_NE(::kill(pid, 0), 0);
  EXPECT_TRUE(processes_marked("GODWIT_TEST_MARK", "harness-" + test_mark()).empty());
}

TEST(Harness, LinkCarriesCutsAndMends) {
  ASSIGN_OR_SKIP(lab, NetLab::make(BitRate{1'000'000'000}));
  EXPECT_TRUE(lab->carries());
  ASSERT_OK(lab->cut());
  EXPECT_FALSE(lab->carries());
  ASSERT_OK(lab->repair());
  EXPECT_TRUE(lab->carries());
}

}  // namespace
}  // namespace godwit::testing
