#include "host/kernel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/kernel_abi.h"
#include "base/unique_fd.h"
#include "tests/host/made_up_host.h"

namespace godwit::kernel_test {
namespace {

TEST(KernelRelease, ReadsTheTwoNumbersInFront) {
  EXPECT_EQ(parse_kernel_release("6.18.44-generic"), (KernelVersion{6, 18}));
  EXPECT_EQ(parse_kernel_release("5.10"), (KernelVersion{5, 10}));
  EXPECT_EQ(parse_kernel_release("6.1-rc3"), (KernelVersion{6, 1}));
  for (const char* bad : {"", "6", "6.", "six.one", "6-1", ".5", "v6.8"}) {
    EXPECT_FALSE(parse_kernel_release(bad).has_value()) << bad;
  }
}

TEST(KernelFeatures, DependOnTheVersion) {
  const KernelFeatures all{true, true, true, true, true};
  EXPECT_EQ(as_on({6, 7}, all), all);
  EXPECT_EQ(as_on({7, 0}, all), all);
  EXPECT_EQ(as_on({6, 6}, all), (KernelFeatures{false, false, true, true, true}));
  EXPECT_EQ(as_on({5, 10}, all), (KernelFeatures{false, false, true, true, true}));
  EXPECT_EQ(as_on({5, 5}, all), (KernelFeatures{false, false, true, true, false}));
  EXPECT_EQ(as_on({4, 10}, all), (KernelFeatures{false, false, false, true, false}));
  EXPECT_EQ(as_on({0, 0}, all), KernelFeatures{});
  EXPECT_EQ(as_on({6, 18}, KernelFeatures{}), KernelFeatures{});
}

TEST(KernelProbe, FindsNoPagemapInAMadeUpTree) {
  const testing::MadeUpHost host;
  EXPECT_FALSE(probe_kernel(host.path("proc"), host.path("dev")).pagemap_scan);
  host.write("proc/self/pagemap", "not one");
  EXPECT_FALSE(probe_kernel(host.path("proc"), host.path("dev")).pagemap_scan);
}

/// Memory of this process whose writes are tracked.
class TrackedPages {
 public:
  static constexpr std::size_t kPages = 4;

  TrackedPages() : page_(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))) {
    memory_ = ::mmap(nullptr, kPages * page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory_, MAP_FAILED);
  }
  ~TrackedPages() { ::munmap(memory_, kPages * page_); }
  TrackedPages(const TrackedPages&) = delete;
  TrackedPages& operator=(const TrackedPages&) = delete;

  void track(const UniqueFd& userfaultfd) const {
    uffdio_api api{};
    api.api = UFFD_API;
    api.features = kTrackingFeatures;
    ASSERT_EQ(::ioctl(userfaultfd.get(), UFFDIO_API, &api), 0);
    uffdio_register registration{};
    registration.range = {address(), kPages * page_};
    registration.mode = UFFDIO_REGISTER_MODE_WP;
    ASSERT_EQ(::ioctl(userfaultfd.get(), UFFDIO_REGISTER, &registration), 0);
  }

  void write(std::size_t page) const { static_cast<volatile char*>(memory_)[page * page_] = 1; }

  /// Pages written since the last call.
  std::vector<std::size_t> harvest() const {
    const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    std::array<PagemapRegion, kPages> regions;
    PagemapScan scan;
    scan.flags = kScanWriteProtects | kScanChecksAsyncArmed;
    scan.start = address();
    scan.end = address() + kPages * page_;
    scan.regions = reinterpret_cast<std::uint64_t>(regions.data());
    scan.regions_length = regions.size();
    scan.required = kPageIsWritten;
    scan.returned = kPageIsWritten;
    const int found = ::ioctl(pagemap.get(), kPagemapScan, &scan);
    EXPECT_GE(found, 0);
    std::vector<std::size_t> pages;
    for (int i = 0; i < found; ++i) {
      const auto& region = regions[static_cast<std::size_t>(i)];
      for (auto at = region.start; at < region.end; at += page_) pages.push_back((at - address()) / page_);
    }
    return pages;
  }

 private:
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(memory_); }
  std::size_t page_;
  void* memory_ = nullptr;
};

TEST(KernelProbe, DirtyTrackingWorksWhereItSaysSo) {
  const KernelFeatures features = probe_kernel("/proc", "/dev");
  if (!features.pagemap_scan || !features.uffd_wp_async) {
    GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN or no asynchronous write-protect (Linux 6.7), or forbids them";
  }
  const UniqueFd userfaultfd(static_cast<int>(
      ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | (features.uffd_kernel_faults ? 0 : kUserModeOnly))));
  if (!userfaultfd) GTEST_SKIP() << "userfaultfd is only to be had through its device here";
  const TrackedPages pages;
  pages.track(userfaultfd);
  pages.harvest();
  EXPECT_EQ(pages.harvest(), std::vector<std::size_t>{});
  pages.write(1);
  pages.write(3);
  EXPECT_EQ(pages.harvest(), (std::vector<std::size_t>{1, 3}));
  pages.write(2);
  EXPECT_EQ(pages.harvest(), std::vector<std::size_t>{2});
}

}  // namespace
}  // namespace godwit::kernel_test
