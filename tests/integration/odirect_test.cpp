// The O_DIRECT hazard: disk reads whose data lands past the page tables after a harvest has re-armed the page. Found
// twice over: by comparing RAM, and by the guest, which knows what every buffer must hold.
//
// On a quick disk data lands before a lane has even looked at the page; so the source's disk is made slow.
#include <sys/vfs.h>

#include <fstream>

#include "tests/integration/scene.h"
#include "tests/support/qemu_slow_disk.h"

namespace godwit::testing {
namespace {

constexpr long kTmpfsMagic = 0x01021994;

struct Found {
  std::uint64_t pages = 0;  ///< that differ when both sides are prepared
  bool guest_saw = false;   ///< the guest found an error at the sink
  std::string words;
};

/// One migration of a guest that reads its disk as fast as it can. `beside`: more disks.
Result<Found> migrate_disk_guest(const std::filesystem::path& disk, bool unsafe,
                                 const std::vector<std::string>& beside = {}) {
  QemuOptions options;
  options.size = 256 * kMiB;
  options.guest = guest_image();
  options.guest_line = "work=1M disk=1 pool=32M rate=20000";
  options.disk = disk;
  options.more = beside;
  const auto scene = TRY(Scene::make(options));
  TRY_IN("before", expect_guest_works(scene->source(), 1));
  // 16 requests of 64 KiB in flight: each takes some 60 ms.
  const auto slow = TRY(SlowDisk::limit(scene->source().pid(), disk, 16 * kMiB));
  GodwitOptions send = failing_at("prepared", "stop");
  send.arguments = {"--max-downtime", "2s"};
  if (unsafe) send.environment["GODWIT_UNSAFE_IGNORE_DISK_WRITES"] = "1";
  TRY(scene->receive());
  TRY(scene->send(send));
  TRY(scene->sender().process().wait_until_stopped(seconds(120)));
  const auto ram = TRY(compare_ram(scene->source(), scene->sink()));
  Found found;
  found.pages = ram.pages_different;
  found.words = ram.describe();
  TRY(scene->sender().process().send_signal(SIGCONT));
  const Status moved = scene->expect_moved();
  found.guest_saw = !moved && moved.error().message.find("ERRORS") != std::string::npos;
  if (!moved) found.words += "; " + moved.error().message;
  if (!moved && !found.guest_saw) return fail(moved.error());
  return found;
}

class ODirect : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = TempFolder::make("/tmp");
    ASSERT_OK(made);
    folder_ = std::move(*made);
    struct statfs info {};
    ASSERT_EQ(::statfs(folder_.path().c_str(), &info), 0);
    if (info.f_type == kTmpfsMagic) GTEST_SKIP() << "/tmp is in memory: no disk reads past the page cache there";
    ASSERT_OK(make_guest_disk(disk(), 256 * kMiB));
  }
  const std::filesystem::path& folder() const { return folder_.path(); }
  std::filesystem::path disk() const { return folder_.path() / "disk"; }

  void expect_exact(unsigned runs, const std::vector<std::string>& beside = {}) {
    for (unsigned run = 0; run < runs; ++run) {
      SCOPED_TRACE("run " + std::to_string(run));
      ASSIGN_OR_SKIP(found, migrate_disk_guest(disk(), false, beside));
      EXPECT_EQ(found.pages, 0u) << found.words;
      EXPECT_FALSE(found.guest_saw) << found.words;
    }
  }

 private:
  TempFolder folder_;
};

TEST_F(ODirect, NoLandingIsLost) {
  expect_exact(2);
}

/// With an AHCI disk beside it the requests in flight are not all readable: nobody looks at any, and the guest is
/// paused while pages are armed. What then must not get lost are the same landings.
class ODirectQuiesced : public ODirect {
 protected:
  std::vector<std::string> ahci_disk() const {
    const std::string file = (folder() / "cdrom").string();
    std::ofstream(file) << std::string(64 * 1024, 'c');
    return {"-device", "ich9-ahci,id=ahci0",
            "-drive",  "file=" + file + ",if=none,id=cd0,format=raw,cache=none,aio=native,readonly=on",
            "-device", "ide-cd,bus=ahci0.0,drive=cd0"};
  }
};

TEST_F(ODirectQuiesced, NoLandingIsLost) {
  expect_exact(2, ahci_disk());
}

class ODirectQuiescedLong : public ODirectQuiesced {};

TEST_F(ODirectQuiescedLong, NoLandingIsLostInTenRuns) {
  expect_exact(10, ahci_disk());
}

class ODirectLong : public ODirect {};

TEST_F(ODirectLong, NoLandingIsLostInTenRuns) {
  expect_exact(10);
}

// Shows that the tests above can fail: without the fix landings are lost, and both ways of looking see it.
TEST_F(ODirect, WithoutTheFixLandingsAreLost) {
  std::uint64_t pages = 0;
  bool guest_saw = false;
  for (unsigned run = 0; run < 10 && !(pages > 0 && guest_saw); ++run) {
    ASSIGN_OR_SKIP(found, migrate_disk_guest(disk(), true));
    pages += found.pages;
    guest_saw = guest_saw || found.guest_saw;
  }
  EXPECT_GT(pages, 0u) << "no page differed: does GODWIT_UNSAFE_IGNORE_DISK_WRITES still work?";
  EXPECT_TRUE(guest_saw);
  RecordProperty("pages_lost", std::to_string(pages));
}

}  // namespace
}  // namespace godwit::testing
