// Pages of a destination's images in the page cache: QEMU would drop them at `cont`, with the guest paused.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "tests/support/godwit_temp_folder.h"
#include "tests/support/kept_record.h"
#include "tests/support/qemu_vm.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu::cached_images_test {
namespace {

using godwit::testing::QemuVersion;
using godwit::testing::TestQemu;

/// Pages of the file that lie in the page cache.
std::size_t cached_pages(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto size = static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END));
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return 0;
  std::vector<unsigned char> pages(size / 4096);
  EXPECT_EQ(::mincore(memory, size, pages.data()), 0);
  ::munmap(memory, size);
  return static_cast<std::size_t>(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }));
}

class CachedImages : public ::testing::TestWithParam<QemuVersion> {
 protected:
  /// Pages that are left in the page cache once a sink has been made ready, of an image that was just written.
  void make_ready(const std::string& more, std::size_t& left) {
    const auto folder = godwit::testing::TempFolder::make("/var/tmp");  // on a disk: a tmpfs is nothing but page cache
    ASSERT_TRUE(folder);
    const std::string image = folder->path() / "image";
    std::ofstream(image) << std::string(16 << 20, 'x');
    if (cached_pages(image) == 0) GTEST_SKIP() << "this file system has no page cache";
    auto qemu = TestQemu::start(
        {.version = GetParam(), .incoming = true, .more = {"-drive", "file=" + image + ",format=raw,if=ide" + more}});
    if (!qemu && qemu.error().kind == ErrorKind::kNotFound) GTEST_SKIP() << qemu.error().message;
    ASSERT_TRUE(qemu) << qemu.error().message;
    auto vm = attach((*qemu)->qmp_path().string(), 0, clock_);
    ASSERT_TRUE(vm) << vm.error().message;
    ASSERT_GT(cached_pages(image), 0u) << "nothing would be tested";
    {
      const auto sink = make_sink_vm(*vm, {}, record_, clock_);
      const Status open = sink->open_incoming();
      ASSERT_TRUE(open) << open.error().message;
      sink->give_up();
    }  // which waits for what it has begun
    left = cached_pages(image);
  }
  SteadyClock clock_;
  godwit::testing::KeptRecord record_;
};

TEST_P(CachedImages, AreDroppedWhileTheGuestStillRunsAtTheSource) {
  std::size_t left = 1;
  ASSERT_NO_FATAL_FAILURE(make_ready("", left));
  if (IsSkipped()) return;
  EXPECT_EQ(left, 0u);
}

/// QEMU does not look at the page cache of these.
TEST_P(CachedImages, StayWhereQemuReadsPastThePageCache) {
  std::size_t left = 0;
  ASSERT_NO_FATAL_FAILURE(make_ready(",cache.direct=on", left));
  if (IsSkipped()) return;
  EXPECT_GT(left, 0u);
}

INSTANTIATE_TEST_SUITE_P(Qemu, CachedImages, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::qemu::cached_images_test
