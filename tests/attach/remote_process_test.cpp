// Another process's memory map, files and descriptors.
#include "attach/remote_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "attach/proc_files.h"
#include "attach/remote_userfaultfd.h"
#include "base/small_files.h"
#include "tests/attach/call_target.h"

namespace godwit::remote_process_test {
namespace {

using testing::eventually;
using testing::ForkedProcess;
using testing::SharedWithChildren;

TEST(ParseMapping, ReadsEveryField) {
  const auto mapping =
      parse_mapping("7f12a000-7f12c000 rw-s 00001000 00:1a 4711                 /memfd:ram x (deleted)");
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->start, 0x7f12a000U);
  EXPECT_EQ(mapping->end, 0x7f12c000U);
  EXPECT_TRUE(mapping->readable && mapping->writable && mapping->shared);
  EXPECT_FALSE(mapping->executable);
  EXPECT_EQ(mapping->offset, 0x1000U);
  EXPECT_EQ(mapping->device, makedev(0, 0x1a));
  EXPECT_EQ(mapping->inode, 4711U);
  EXPECT_EQ(mapping->path, "/memfd:ram x (deleted)");
}

TEST(ParseMapping, TakesALineWithoutAPath) {
  const auto mapping = parse_mapping("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 ");
  ASSERT_TRUE(mapping);
  EXPECT_TRUE(mapping->executable);
  EXPECT_FALSE(mapping->readable || mapping->writable || mapping->shared);
  EXPECT_EQ(mapping->path, "");
  EXPECT_TRUE(parse_mapping("1000-2000 r--p 0 0:0 0"));
}

TEST(ParseMapping, RefusesWhatIsNone) {
  const std::string line = "7f12a000-7f12c000 rw-s 00001000 00:1a 4711";
  for (std::size_t length = 0; length < line.size() - 4; ++length) {
    EXPECT_FALSE(parse_mapping(line.substr(0, length))) << line.substr(0, length);
  }
  EXPECT_FALSE(parse_mapping("2000-1000 rw-s 00001000 00:1a 4711"));
  EXPECT_FALSE(parse_mapping("99999999999999999-999999999999999999 rw-s 00001000 00:1a 4711"));
}

struct Shared {
  std::atomic<std::uint64_t> address{0};
  std::atomic<int> descriptor{-1};
};

/// A process that maps a memfd of two pages, and closes the descriptor if `close_it`.
class MappingProcess {
 public:
  explicit MappingProcess(bool close_it)
      : process_([this, close_it] {
          const int fd = ::memfd_create("ram", 0);
          if (::ftruncate(fd, 8192) != 0) ::_exit(95);
          auto* bytes = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
          std::memcpy(bytes, "godwit", 7);
          if (close_it) ::close(fd);
          shared_->descriptor = fd;
          shared_->address = reinterpret_cast<std::uint64_t>(bytes);
          while (true) ::pause();
        }) {
    eventually([&] { return shared_->address != 0; });
  }
  pid_t pid() const { return process_.pid(); }
  int descriptor() const { return shared_->descriptor; }
  Mapping mapping(const RemoteProcess& process) const {
    const auto mappings = process.mappings();
    if (!mappings) return {};
    for (const auto& mapping : *mappings) {
      if (mapping.start == shared_->address) return mapping;
    }
    return {};
  }

 private:
  SharedWithChildren<Shared> shared_;
  ForkedProcess process_;
};

TEST(RemoteProcess, IsNotFoundWhenThereIsNone) {
  pid_t pid = 0;
  {
    ForkedProcess gone([] {});
    pid = gone.pid();
  }
  const auto process = RemoteProcess::open(pid);
  ASSERT_FALSE(process);
  EXPECT_EQ(process.error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(RemoteProcess::open(0).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(RemoteProcess::open(-1).error().kind, ErrorKind::kInvalidArgument);
}

TEST(RemoteProcess, KnowsWhetherItLives) {
  ForkedProcess child([] { ::pause(); });
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  EXPECT_EQ(process->pid(), child.pid());
  EXPECT_GT(process->start_time(), 0U);
  EXPECT_TRUE(process->alive());
  child.end();
  EXPECT_FALSE(process->alive());
  EXPECT_EQ(process->mappings().error().kind, ErrorKind::kNotFound);
}

TEST(RemoteProcess, MayNotBeTracedByAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  ForkedProcess owned_by_root([] { ::pause(); });
  ForkedProcess stranger([&] {
    if (::setuid(65534) != 0) ::_exit(1);
    const auto process = RemoteProcess::open(owned_by_root.pid());
    ::_exit(!process && process.error().kind == ErrorKind::kNoPermission ? 42 : 2);
  });
  const int status = stranger.wait();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

class BackingFile : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Closed, BackingFile, ::testing::Bool());

TEST_P(BackingFile, IsTheOneThatIsMapped) {
  if (GetParam() && ::geteuid() != 0) GTEST_SKIP() << "map_files is for root";
  MappingProcess child(GetParam());
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  const Mapping mapping = child.mapping(*process);
  ASSERT_NE(mapping.inode, 0U);
  EXPECT_TRUE(mapping.shared && mapping.writable);
  const auto file = process->open_backing_file(mapping);
  ASSERT_TRUE(file) << file.error().message;
  auto* ours = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file->get(), 0));
  ASSERT_NE(ours, MAP_FAILED);
  EXPECT_STREQ(ours, "godwit");
  ::munmap(ours, 8192);
}

TEST(RemoteProcess, HasNoFileBehindAnonymousMemory) {
  MappingProcess child(false);
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  EXPECT_EQ(process->open_backing_file(Mapping{}).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_TRUE(process->others_mapping(Mapping{})->empty());
}

TEST(RemoteProcess, SharesItsDescriptors) {
  MappingProcess child(false);
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  const auto fd = process->take_descriptor(child.descriptor());
  ASSERT_TRUE(fd) << fd.error().message;
  char text[7] = {};
  EXPECT_EQ(::pread(fd->get(), text, sizeof text, 0), 7);
  EXPECT_STREQ(text, "godwit");
  EXPECT_FALSE(process->take_descriptor(9999));
}

TEST(RemoteProcess, NamesOthersThatMapItsFile) {
  MappingProcess child(false);
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process);
  const Mapping mapping = child.mapping(*process);
  auto file = process->open_backing_file(mapping);
  ASSERT_TRUE(file);
  // This process does not count.
  void* ours = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file->get(), 0);
  ASSERT_NE(ours, MAP_FAILED);
  auto others = process->others_mapping(mapping);
  ASSERT_TRUE(others) << others.error().message;
  EXPECT_TRUE(others->empty());
  {
    ForkedProcess other([&] {
      ::prctl(PR_SET_NAME, "vhost-like");
      ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file->get(), 0);
      while (true) ::pause();
    });
    const std::string expected = "vhost-like (pid " + std::to_string(other.pid()) + ")";
    EXPECT_TRUE(eventually([&] {
      others = process->others_mapping(mapping);
      return others && *others == std::vector<std::string>{expected};
    })) << (others->empty() ? "none" : others->front());
  }
  others = process->others_mapping(mapping);
  ASSERT_TRUE(others);
  EXPECT_TRUE(others->empty());
  ::munmap(ours, 4096);
}

int count_descriptors(pid_t pid) {
  int count = 0;
  for (int fd = 0; fd < 64; ++fd) {
    struct stat status {};
    if (::lstat(("/proc/" + std::to_string(pid) + "/fd/" + std::to_string(fd)).c_str(), &status) == 0) ++count;
  }
  return count;
}

TEST(RemoteUserfaultfd, LeavesNoDescriptorBehind) {
  testing::CallTarget target(testing::Pastime::kPpoll);
  const auto process = RemoteProcess::open(target.pid());
  ASSERT_TRUE(process);
  const int before = count_descriptors(target.pid());
  const auto made = create_remote_userfaultfd(*process);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(count_descriptors(target.pid()), before);
  // UFFDIO_API, which works once on each: 0xaa is the protocol's version.
  std::array<std::uint64_t, 3> api = {0xaa, 0, 0};
  EXPECT_EQ(::ioctl(made->fd.get(), _IOWR(0xaa, 0x3f, api), &api), 0);
  EXPECT_EQ(target.complaint(), "");
}

// As QEMU with -runas: another user, no capabilities, and vm.unprivileged_userfaultfd=0.
TEST(RemoteUserfaultfd, ContentsItselfWithUserModeOnly) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a process of another user";
  const auto setting = read_whole_file("/proc/sys/vm/unprivileged_userfaultfd", 16);
  if (!setting || (*setting)[0] != '0') GTEST_SKIP() << "vm.unprivileged_userfaultfd is not 0";
  SharedWithChildren<std::atomic<int>> ready;
  ForkedProcess child([&] {
    *ready = ::setuid(65534) == 0 ? 1 : -1;
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *ready == 1; }));
  const auto process = RemoteProcess::open(child.pid());
  ASSERT_TRUE(process) << process.error().message;
  const auto made = create_remote_userfaultfd(*process);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(made->user_mode_only);
}

}  // namespace
}  // namespace godwit::remote_process_test
