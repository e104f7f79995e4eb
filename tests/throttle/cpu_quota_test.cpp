// Limits as files: regular files serve for the kernel's, so that every machine runs this.
#include "throttle/cpu_quota.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/small_files.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::cpu_quota_test {
namespace {

class CpuQuotaFiles : public ::testing::Test {
 protected:
  void file(const char* name, const char* text) { std::ofstream(folder_.path() / name) << text; }
  std::string at() const { return folder_.path().string(); }
  testing::TempFolder folder_ = testing::TempFolder::make(std::filesystem::temp_directory_path()).value();
};

TEST_F(CpuQuotaFiles, AreReadInBothVersions) {
  file("cpu.max", "50000 100000\n");
  file("cpu.max.burst", "200\n");
  EXPECT_EQ(read_quota(CgroupVersion::kV2, at()).value_or(CpuQuota{}), (CpuQuota{50'000, 100'000, 200}));
  file("cpu.max", "max 20000\n");
  EXPECT_EQ(read_quota(CgroupVersion::kV2, at()).value_or(CpuQuota{}), (CpuQuota{std::nullopt, 20'000, 200}));
  file("cpu.cfs_quota_us", "-1\n");
  file("cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(read_quota(CgroupVersion::kV1, at()).value_or(CpuQuota{1}), CpuQuota{});  // a kernel without bursts
}

TEST_F(CpuQuotaFiles, ThatAreNotThereAreNotALimit) {
  const auto read = read_quota(CgroupVersion::kV2, at());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kNotFound);
  file("cpu.max", "half\n");
  EXPECT_FALSE(read_quota(CgroupVersion::kV2, at()));
  EXPECT_FALSE(write_quota(CgroupVersion::kV1, at(), {}));
  EXPECT_FALSE(read_small_file(at() + "/cpu.cfs_quota_us")) << "a control file has been made";
}

TEST(CpuQuota, OfAShareIsThatPartOfItsPeriod) {
  for (const double share : {0.01, 0.03, 0.05, 0.06, 0.2, 0.5, 0.99}) {
    const CpuQuota quota = quota_for(share);
    EXPECT_TRUE(is_throttled(quota)) << share;
    ASSERT_TRUE(quota.quota);
    EXPECT_GE(*quota.quota, 1000) << share;  // less, the kernel refuses
    EXPECT_NEAR(*quota.cpus(), share, 0.001) << share;
    if (share > 0.011) {  // never above: a group may not have more than the one above it
      EXPECT_LE(*quota.cpus(), share);
    }
  }
  EXPECT_FALSE(is_throttled(CpuQuota{}));
  EXPECT_FALSE(is_throttled({10'000, 20'000, 0}));
}

}  // namespace
}  // namespace godwit::cpu_quota_test
