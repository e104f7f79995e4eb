#include "host/host_profile.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <optional>

#include "base/units.h"
#include "host/cpu.h"
#include "tests/host/made_up_host.h"

namespace godwit::host_profile_test {
namespace {

using testing::MadeUpHost;

/// Sets GODWIT_PRETEND_KERNEL and puts back what was there.
class Pretend {
 public:
  explicit Pretend(const char* release) {
    if (const char* before = ::getenv(kName)) before_ = before;
    ::setenv(kName, release, 1);
  }
  ~Pretend() {
    if (before_) {
      ::setenv(kName, before_->c_str(), 1);
    } else {
      ::unsetenv(kName);
    }
  }
  Pretend(const Pretend&) = delete;
  Pretend& operator=(const Pretend&) = delete;

 private:
  static constexpr const char* kName = "GODWIT_PRETEND_KERNEL";
  std::optional<std::string> before_;
};

TEST(HostProfile, ReadsAMadeUpHost) {
  const MadeUpHost host;
  host.write("proc/sys/kernel/osrelease", "6.12.3-cloud-amd64\n");
  host.write("proc/sys/kernel/yama/ptrace_scope", "1\n");
  host.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Made Up CPU @ 2.00GHz\n\nmodel name\t: Another\n");
  host.write("proc/meminfo", "MemFree:  1 kB\nMemTotal:       263842816 kB\n");
  host.write("sys/devices/system/node/online", "0-1,4\n");
  host.write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
  host.write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "500\n");
  host.write("sys/bus/dsa/devices/iax0/state", "enabled\n");
  host.write("dev/kvm", "");

  const HostProfile profile = probe_host(host.paths());
  EXPECT_EQ(profile.kernel_release, "6.12.3-cloud-amd64");
  EXPECT_EQ(profile.kernel_major, 6U);
  EXPECT_EQ(profile.kernel_minor, 12U);
  EXPECT_EQ(profile.lsm_ptrace_scope, "1");
  EXPECT_EQ(profile.cpu_model, "Made Up CPU @ 2.00GHz");
  EXPECT_EQ(profile.memory_bytes, 263842816 * kKiB);
  EXPECT_EQ(profile.numa_nodes, 3U);
  EXPECT_EQ(profile.hugetlb_2m_total, 512U);
  EXPECT_EQ(profile.hugetlb_2m_free, 500U);
  EXPECT_EQ(profile.accelerators, std::vector<std::string>{"iax0"});
  EXPECT_TRUE(profile.kvm);
  EXPECT_EQ(profile.cpus, usable_cpus());
  EXPECT_FALSE(profile.pagemap_scan) << "the made-up /proc has no pagemap";
}

TEST(HostProfile, CountsAsAbsentWhatIsNotThere) {
  const MadeUpHost empty;
  const HostProfile profile = probe_host(empty.paths());
  EXPECT_FALSE(profile.kernel_release.empty()) << "uname knows it";
  EXPECT_EQ(profile.cpu_model, "");
  EXPECT_EQ(profile.memory_bytes, 0U);
  EXPECT_EQ(profile.numa_nodes, 1U);
  EXPECT_GE(profile.cpus, 1U);
  EXPECT_FALSE(profile.kvm);
  EXPECT_FALSE(profile.pagemap_scan);
  EXPECT_EQ(profile.lsm_ptrace_scope, "none");
  EXPECT_EQ(profile.hugetlb_2m_total, 0U);
  EXPECT_TRUE(profile.accelerators.empty());
  EXPECT_TRUE(profile.data_movers.empty());
}

TEST(HostProfile, SurvivesNonsense) {
  const MadeUpHost host;
  host.write("proc/sys/kernel/osrelease", "custom\n");
  host.write("proc/meminfo", "MemTotal: lots\nMemTotal");
  host.write("sys/devices/system/node/online", "3-1\n");
  host.write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "-1\n");
  const HostProfile profile = probe_host(host.paths());
  EXPECT_EQ(profile.kernel_release, "custom");
  EXPECT_EQ(profile.kernel_major, 0U);
  EXPECT_EQ(profile.memory_bytes, 0U);
  EXPECT_EQ(profile.numa_nodes, 1U);
  EXPECT_EQ(profile.hugetlb_2m_total, 0U);
}

TEST(HostProfile, AnswersAsOnAnOlderKernel) {
  const Pretend pretend("5.10");
  const HostProfile profile = probe_host();
  EXPECT_EQ(profile.kernel_release, "5.10");
  EXPECT_EQ(profile.kernel_major, 5U);
  EXPECT_EQ(profile.kernel_minor, 10U);
  EXPECT_FALSE(profile.pagemap_scan);
  EXPECT_FALSE(profile.uffd_wp_async);
}

TEST(HostProfile, PretendsNothingThatIsNotThere) {
  const HostProfile real = probe_host();
  const Pretend pretend("99.0");
  const HostProfile profile = probe_host();
  EXPECT_EQ(profile.kernel_major, 99U);
  EXPECT_EQ(profile.pagemap_scan, real.pagemap_scan);
  EXPECT_EQ(profile.uffd_wp_async, real.uffd_wp_async);
  EXPECT_EQ(profile.uffd_kernel_faults, real.uffd_kernel_faults);
}

TEST(HostProfile, TakesAPretendedTypingSlipForTheOldestKernel) {
  const Pretend pretend("v6.8");
  const HostProfile profile = probe_host();
  EXPECT_EQ(profile.kernel_major, 0U);
  EXPECT_FALSE(profile.process_vm);
  EXPECT_FALSE(profile.pidfd_getfd);
}

}  // namespace
}  // namespace godwit::host_profile_test
