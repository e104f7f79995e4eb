// After the commit the destination's QEMU refuses to let the guest run, because somebody holds a lock on its disk: it
// is asked again until it does, or goes back to the source when it certainly never ran.
#include <fcntl.h>
#include <fmt/format.h>

#include <fstream>

#include "tests/integration/kills.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {
namespace {

/// As a program that opens the image with QEMU's block layer and lets nobody else write: QEMU locks byte 200 + n for
/// each permission n that it does not share, and 1 is to write.
class ImageLock {
 public:
  explicit ImageLock(const std::filesystem::path& image) : fd_(::open(image.c_str(), O_RDWR | O_CLOEXEC)) {
    struct flock range {};
    range.l_type = F_RDLCK;
    range.l_whence = SEEK_SET;
    range.l_start = 201;
    range.l_len = 1;
    EXPECT_EQ(::fcntl(fd_.get(), F_OFD_SETLK, &range), 0);
  }
  void release() { fd_.reset(); }

 private:
  UniqueFd fd_;
};

/// A pair of QEMUs with one disk.
class LockedDisk {
 protected:
  /// `source_locks`: the source's QEMU minds locks on the image too.
  void make_scene(QemuVersion version, bool source_locks) {
    ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
    folder_ = std::move(folder);
    image_ = folder_.path() / "disk";
    { std::ofstream(image_, std::ios::binary) << std::string(1 << 20, '\0'); }
    ASSIGN_OR_SKIP(scene, Scene::make(vm(version, source_locks), vm(version, true)));
    scene_ = std::move(scene);
  }
  QemuOptions vm(QemuVersion version, bool locks) const {
    QemuOptions options = quiet_vm();
    options.version = version;
    options.more = {"-drive",
                    fmt::format("if=none,id=d,format=raw,file.driver=file,file.filename={},file.locking={}",
                                image_.string(), locks ? "on" : "off"),
                    "-device", "virtio-blk-pci,drive=d"};
    return options;
  }

  TempFolder folder_;
  std::filesystem::path image_;
  std::unique_ptr<Scene> scene_;
  std::optional<ImageLock> lock_;
};

class RefusedStart : public ::testing::TestWithParam<QemuVersion>, protected LockedDisk {
 protected:
  /// A receiver that was stopped when it had read the commit, and is refused to start the guest now.
  void commit(bool source_locks, std::vector<std::string> receive = {}) {
    make_scene(GetParam(), source_locks);
    if (!scene_) return;
    GodwitOptions options = failing_at("committed", "stop");
    options.arguments = std::move(receive);
    ASSERT_OK(scene_->receive(options));
    ASSERT_OK(scene_->send());
    ASSERT_OK(scene_->receiver().process().wait_until_stopped(seconds(60)));
    lock_.emplace(image_);
    ASSERT_OK(scene_->receiver().process().send_signal(SIGCONT));
    ASSERT_OK(scene_->receiver().process().wait_for_error_line("does not let the guest run yet", seconds(30)));
  }
};

TEST_P(RefusedStart, ALockThatIsHeldForAWhileIsWaitedFor) {
  ASSERT_NO_FATAL_FAILURE(commit(true));
  if (!scene_) return;
  nap(seconds(3));
  EXPECT_NE(scene_->source().status().value_or("?"), "running");
  lock_->release();
  ASSERT_OK(scene_->expect_moved());
}

TEST_P(RefusedStart, ALockThatIsHeldForEverSendsTheGuestBack) {
  ASSERT_NO_FATAL_FAILURE(commit(false, {"--start-timeout", "2s"}));
  if (!scene_) return;
  ASSERT_OK(scene_->expect_source_runs({"never ran there", "lock"}));
  EXPECT_FALSE(scene_->sink().alive()) << "a guest that went back must not be able to run there";
  ASSIGN_OR_FAIL(received, scene_->receiver().wait(seconds(60)));
  EXPECT_EQ(received.code, 1) << scene_->receiver().errors();
  lock_->release();
  ASSERT_OK(scene_->expect_next_migration_succeeds());
}

/// Nobody is certain of anything any more: the guest is stopped on both sides, and both say what to do.
TEST_P(RefusedStart, AnEngineThatDiesMeanwhileLeavesTheSourceInDoubt) {
  ASSERT_NO_FATAL_FAILURE(commit(false));
  if (!scene_) return;
  scene_->receiver().process().kill();
  ASSIGN_OR_FAIL(sent, scene_->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 3) << scene_->sender().errors();
  EXPECT_NE(scene_->source().status().value_or("?"), "running");
  EXPECT_NE(scene_->sink().status().value_or("?"), "running");
  ASSIGN_OR_FAIL(probe, start_probe(scene_->sink()));
  ASSERT_OK(probe->wait(seconds(60)));
  EXPECT_TRUE(says(probe->output() + probe->errors(), "type `cont`")) << probe->output() << probe->errors();
  lock_->release();
  ASSERT_OK(scene_->sink().go_on());
  ASSERT_OK(expect_guest_works(scene_->sink()));
}

/// What the destination holds may be the only copy then: it is kept, and whoever looks is told that it is to be
/// started.
TEST_P(RefusedStart, AGuestIsKeptWhereTheSourceIsLostMeanwhile) {
  for (const bool engine : {true, false}) {
    SCOPED_TRACE(engine ? "its engine" : "its QEMU");
    ASSERT_NO_FATAL_FAILURE(commit(false, {"--start-timeout", "3s"}));
    if (!scene_) return;
    (engine ? scene_->sender().process() : scene_->source().process()).kill();
    ASSIGN_OR_FAIL(received, scene_->receiver().wait(seconds(60)));
    EXPECT_EQ(received.code, 3) << scene_->receiver().errors();
    ASSERT_TRUE(scene_->sink().alive()) << "the only copy of the guest was destroyed";
    EXPECT_EQ(scene_->sink().status().value_or("?"), "paused");
    lock_->release();
    ASSERT_OK(scene_->sink().go_on());
    ASSERT_OK(expect_guest_works(scene_->sink()));
    lock_.reset();
    scene_.reset();
  }
}

INSTANTIATE_TEST_SUITE_P(Qemu, RefusedStart, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

/// An engine dies at each milestone while the destination may not start the guest. The lock is held until the next
/// commands have done their work, except for milestones that only a guest that has been started comes by.
class RefusedAndKilledLong : public ::testing::TestWithParam<Kill>, protected LockedDisk {
 protected:
  static Status in_guest_disk(TestQemu& qemu, const std::string& command) {
    const auto said = TRY(qemu.monitor().human("qemu-io d \"" + command + "\""));
    const bool failed = said.find("rror") != std::string::npos || said.find("ailed") != std::string::npos;
    return failed ? fail(ErrorKind::kIo, command + ": " + said) : Status{};
  }
  /// It has what was written before the move, and what it is given now goes into the one image.
  void expect_disk_followed(TestQemu& qemu) {
    ASSERT_OK(in_guest_disk(qemu, "read -P 0x5a 0 4096"));
    ASSERT_OK(in_guest_disk(qemu, "write -P 0x3c 4096 4096"));
    ASSERT_OK(in_guest_disk(qemu, "flush"));
    EXPECT_EQ(read_text(image_).substr(4096, 4096), std::string(4096, '\x3c'));
  }
};

TEST_P(RefusedAndKilledLong, OneVmIsLeftAndHasItsDisk) {
  const Kill& kill = GetParam();
  make_scene(kill.version, false);
  if (!scene_) return;
  ASSERT_OK(in_guest_disk(scene_->source(), "write -P 0x5a 0 4096"));
  const SettingsOfBoth before = settings_of(*scene_);
  lock_.emplace(image_);
  ASSERT_OK(start_until_killed(*scene_, kill, {"--start-timeout", "60s"}));
  if (home_after(kill) == Home::kSink) {
    ASSERT_OK(scene_->receiver().process().wait_for_error_line("does not let the guest run yet", seconds(60)));
    EXPECT_NE(scene_->source().status().value_or("?"), "running");
    lock_->release();
  }
  ASSIGN_OR_FAIL(said, recover(*scene_, kill, before));
  lock_->release();
  TestQemu& source = scene_->source();
  switch (said.home) {
    case Home::kSource:
      EXPECT_EQ(source.status().value_or("?"), "running") << said.source;
      ASSERT_OK(expect_guest_works(source));
      ASSERT_NO_FATAL_FAILURE(expect_disk_followed(source));
      ASSERT_OK(scene_->expect_next_migration_succeeds());
      ASSERT_NO_FATAL_FAILURE(expect_disk_followed(scene_->sink()));
      break;
    case Home::kInDoubt:
      EXPECT_TRUE(says(said.source, "committed")) << said.source;
      EXPECT_NE(source.status().value_or("?"), "running");
      ASSERT_OK(scene_->expect_sink_does_not_run());
      break;
    case Home::kAwaitsCont:
      EXPECT_TRUE(says(said.sink, "type `cont`")) << said.sink;
      ASSERT_OK(scene_->sink().go_on());
      [[fallthrough]];
    case Home::kSink:
      EXPECT_NE(source.status().value_or("?"), "running");
      EXPECT_EQ(scene_->sink().status().value_or("?"), "running") << said.sink;
      ASSERT_OK(expect_guest_works(scene_->sink()));
      ASSERT_NO_FATAL_FAILURE(expect_disk_followed(scene_->sink()));
      break;
  }
}

INSTANTIATE_TEST_SUITE_P(At, RefusedAndKilledLong, ::testing::ValuesIn(every_kill()),
                         [](const auto& tested) { return name_of(tested.param); });

}  // namespace
}  // namespace godwit::testing
