// Where the groups are: what the kernel's texts say.
#include "throttle/cgroup_places.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/godwit_temp_folder.h"

namespace godwit::cgroup_places_test {
namespace {

constexpr const char* kHybrid =
    "30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 30 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "40 30 0:37 / /sys/fs/cgroup/unified rw,relatime master:1 shared:2 - cgroup2 cgroup2 rw\n";

TEST(CgroupPlaces, FindsTheHierarchiesThatMayLimitCpuTime) {
  const auto mounts = cgroup_mounts_in(kHybrid);
  ASSERT_EQ(mounts.size(), 2U);
  EXPECT_EQ(mounts[0].version, CgroupVersion::kV1);
  EXPECT_EQ(mounts[0].at, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(mounts[1].version, CgroupVersion::kV2);
  EXPECT_EQ(mounts[1].at, "/sys/fs/cgroup/unified");
}

TEST(CgroupPlaces, TakesACpusetForNoCpuController) {
  EXPECT_TRUE(cgroup_mounts_in("33 30 0:30 / /c rw - cgroup cgroup rw,cpuset\n").empty());
}

TEST(CgroupPlaces, ReadsSpacesInPaths) {
  const auto mounts = cgroup_mounts_in("1 2 0:3 /a\\040b /x\\134y rw - cgroup2 none rw\n");
  ASSERT_EQ(mounts.size(), 1U);
  EXPECT_EQ(mounts[0].root, "/a b");
  EXPECT_EQ(mounts[0].at, "/x\\y");
}

TEST(CgroupPlaces, MakesNothingOfBrokenLines) {
  EXPECT_TRUE(cgroup_mounts_in("").empty());
  EXPECT_TRUE(cgroup_mounts_in("\n \n - \n1 2 3\n - cgroup2").empty());
}

class FakeProc : public ::testing::Test {
 protected:
  void write_groups(const std::string& text) {
    const auto folder = folder_.path() / "7/task/9";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "cgroup") << text;
    paths_.proc = folder_.path().string();
  }
  testing::TempFolder folder_ = testing::TempFolder::make(std::filesystem::temp_directory_path()).value();
  HostPaths paths_;
};

TEST_F(FakeProc, TellsAThreadsGroupInEachHierarchy) {
  write_groups("9:name=systemd:/s\n3:cpu,cpuacct:/machine.slice/vm\n0::/init.scope\n");
  EXPECT_EQ(cgroup_folder_of({CgroupVersion::kV1, "/", "/c"}, 7, 9, paths_).value_or(""), "/c/machine.slice/vm");
  EXPECT_EQ(cgroup_folder_of({CgroupVersion::kV2, "/", "/u"}, 7, 9, paths_).value_or(""), "/u/init.scope");
}

TEST_F(FakeProc, TellsTheGroupInsideAContainersMount) {
  write_groups("0::/kubepods/pod1/qemu\n");
  EXPECT_EQ(cgroup_folder_of({CgroupVersion::kV2, "/kubepods/pod1", "/u"}, 7, 9, paths_).value_or(""), "/u/qemu");
  EXPECT_EQ(cgroup_folder_of({CgroupVersion::kV2, "/kubepods/pod1/qemu", "/u"}, 7, 9, paths_).value_or(""), "/u");
}

TEST_F(FakeProc, SaysThatAGroupIsNotVisible) {
  write_groups("0::/kubepods/pod1/qemu\n");
  const auto other = cgroup_folder_of({CgroupVersion::kV2, "/kubepods/pod", "/u"}, 7, 9, paths_);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kUnsupported);
  write_groups("0::/../other\n");
  EXPECT_FALSE(cgroup_folder_of({CgroupVersion::kV2, "/", "/u"}, 7, 9, paths_));
  const auto gone = cgroup_folder_of({CgroupVersion::kV2, "/", "/u"}, 7, 10, paths_);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace godwit::cgroup_places_test
