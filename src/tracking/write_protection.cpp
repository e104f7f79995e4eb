#include "tracking/write_protection.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <thread>

#include "base/clock.h"
#include "base/kernel_abi.h"

namespace godwit {
namespace {

// What an engine that died left behind is released at some 15 GiB a second (releaser.h).
constexpr Duration kReleasePatience = std::chrono::seconds(100);
constexpr Duration kBetweenTries = std::chrono::milliseconds(20);

Status check_features() {
  // The restricted kind is always allowed, and enough to ask.
  const UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | kUserModeOnly)));
  if (!fd) return fail(ErrorKind::kUnsupported, "the kernel has no userfaultfd (Linux 5.11 or newer)", errno);
  uffdio_api api{};
  api.api = UFFD_API;
  if (::ioctl(fd.get(), UFFDIO_API, &api) != 0) return fail_os("UFFDIO_API");
  struct Feature {
    std::uint64_t bit;
    const char* name;
  };
  for (const Feature& feature : {Feature{kWriteProtectShared, "WP_HUGETLBFS_SHMEM (Linux 5.19)"},
                                 Feature{kWriteProtectUnpopulated, "WP_UNPOPULATED (Linux 6.4)"},
                                 Feature{kWriteProtectAsync, "WP_ASYNC (Linux 6.7)"}}) {
    if ((api.features & feature.bit) == 0) {
      return fail(ErrorKind::kUnsupported, fmt::format("the kernel's userfaultfd lacks {}", feature.name));
    }
  }
  return {};
}

Status check_scan() {
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap) return fail_os("open /proc/self/pagemap");
  alignas(4096) static const std::byte page[4096] = {};
  std::array<PagemapRegion, 1> regions;
  PagemapScan scan;
  scan.start = reinterpret_cast<std::uint64_t>(&page);
  scan.end = scan.start + sizeof page;
  scan.regions = reinterpret_cast<std::uint64_t>(regions.data());
  scan.regions_length = regions.size();
  scan.required = kPageIsPresent;
  scan.returned = kPageIsPresent;
  if (::ioctl(pagemap.get(), kPagemapScan, &scan) >= 0) return {};
  if (errno == ENOTTY) return fail(ErrorKind::kUnsupported, "the kernel lacks PAGEMAP_SCAN (Linux 6.7)", errno);
  return fail_os("PAGEMAP_SCAN");
}

}  // namespace

Status check_write_protection() {
  TRY(check_features());
  return check_scan();
}

Result<WriteProtection> WriteProtection::create(const RemoteProcess& process, DescriptorLender* lender) {
  auto made = TRY(create_remote_userfaultfd(process, lender));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kTrackingFeatures;
  if (::ioctl(made.fd.get(), UFFDIO_API, &api) != 0) return fail_os("UFFDIO_API");
  return WriteProtection(std::move(made.fd));
}

Status WriteProtection::cover(std::uint64_t address, std::uint64_t length, const std::stop_token& cancelled) {
  const SteadyClock clock;
  uffdio_register wanted{};
  wanted.range = {address, length};
  wanted.mode = UFFDIO_REGISTER_MODE_WP;
  const Instant deadline = clock.now() + kReleasePatience;
  while (::ioctl(fd_.get(), UFFDIO_REGISTER, &wanted) != 0) {
    const int number = errno;
    if (number == EBUSY && cancelled.stop_requested()) {
      return fail(ErrorKind::kCancelled, "cancelled by the operator");
    }
    if (number == EBUSY && clock.now() < deadline && somebody_releases()) {
      std::this_thread::sleep_for(kBetweenTries);
      continue;
    }
    if (number == EBUSY) return fail(ErrorKind::kRefused, "another userfaultfd covers the guest's memory", number);
    if (number == ESRCH) return fail(ErrorKind::kPeerLost, "the hypervisor has ended", number);
    return fail(os_error(fmt::format("UFFDIO_REGISTER {} bytes at {:#x}", length, address), number));
  }
  covered_.push_back({address, length});
  return {};
}

void WriteProtection::release() noexcept {
  release_piece_by_piece(fd_.get(), covered_);
  covered_.clear();
  fd_.reset();
}

}  // namespace godwit
