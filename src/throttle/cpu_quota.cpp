#include "throttle/cpu_quota.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/small_files.h"
#include "base/unique_fd.h"

namespace godwit {
namespace {

// 20 ms: short enough that a guest's clock ticks and its network do not mind, and the kernel's least quota of 1 ms is
// still 5 %. Below, 100 ms. Primes beside those figures, which are what people and other programs choose.
constexpr std::int64_t kPeriod = 19'993;
constexpr std::int64_t kLongPeriod = 99'991;
constexpr double kLongPeriodBelow = 0.0501;
// KERNEL: min_cfs_quota_period.
constexpr std::int64_t kLeastQuota = 1000;

Result<std::int64_t> number_of(std::string_view text, const std::string& path) {
  std::int64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size()) {
    return fail(ErrorKind::kIo, fmt::format("{}: '{}' is not a number", path, text.substr(0, 100)));
  }
  return value;
}

/// The text of a control file without its newline.
Result<std::string> read_control_file(const std::string& path) {
  std::string text = TRY(read_whole_file(path, 4096));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

Result<std::int64_t> read_control_number(const std::string& path) {
  return number_of(TRY(read_control_file(path)), path);
}

/// KERNEL: Linux 5.14; older ones have no such file.
std::string burst_file(CgroupVersion version, const std::string& folder) {
  return folder + (version == CgroupVersion::kV2 ? "/cpu.max.burst" : "/cpu.cfs_burst_us");
}

bool has_burst(CgroupVersion version, const std::string& folder) {
  return ::access(burst_file(version, folder).c_str(), F_OK) == 0;
}

/// The group is without a limit before it gets another period: the kernel compares each with what is there.
Status write_quota_v1(const std::string& folder, const CpuQuota& quota) {
  const std::string period_file = folder + "/cpu.cfs_period_us";
  const std::string quota_file = folder + "/cpu.cfs_quota_us";
  if (TRY(read_control_number(period_file)) != quota.period) {
    TRY(write_control_file(quota_file, "-1"));
    TRY(write_control_file(period_file, std::to_string(quota.period)));
  }
  return write_control_file(quota_file, std::to_string(quota.quota.value_or(-1)));
}

}  // namespace

std::optional<double> CpuQuota::cpus() const {
  if (!quota || period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(period);
}

Result<CpuQuota> read_quota(CgroupVersion version, const std::string& folder) {
  CpuQuota read;
  if (version == CgroupVersion::kV2) {
    const std::string path = folder + "/cpu.max";
    const std::string text = TRY(read_control_file(path));
    const auto space = text.find(' ');
    if (space == std::string::npos) return fail(ErrorKind::kIo, path + " has no period");
    const std::string quota = text.substr(0, space);
    if (quota != "max") read.quota = TRY(number_of(quota, path));
    read.period = TRY(number_of(std::string_view(text).substr(space + 1), path));
  } else {
    const std::int64_t quota = TRY(read_control_number(folder + "/cpu.cfs_quota_us"));
    if (quota >= 0) read.quota = quota;
    read.period = TRY(read_control_number(folder + "/cpu.cfs_period_us"));
  }
  if (has_burst(version, folder)) read.burst = TRY(read_control_number(burst_file(version, folder)));
  return read;
}

Status write_quota(CgroupVersion version, const std::string& folder, const CpuQuota& quota) {
  const bool burst = has_burst(version, folder);
  // More than the quota is refused: none before a quota becomes less, and the wanted one when the quota is there.
  if (burst && quota.burst == 0) TRY(write_control_file(burst_file(version, folder), "0"));
  if (version == CgroupVersion::kV2) {
    const std::string limit = quota.quota ? std::to_string(*quota.quota) : "max";
    TRY(write_control_file(folder + "/cpu.max", fmt::format("{} {}", limit, quota.period)));
  } else {
    TRY(write_quota_v1(folder, quota));
  }
  if (burst && quota.burst != 0) {
    TRY(write_control_file(burst_file(version, folder), std::to_string(quota.burst)));
  }
  return {};
}

CpuQuota quota_for(double share) {
  CpuQuota quota;
  quota.period = share < kLongPeriodBelow ? kLongPeriod : kPeriod;
  quota.quota = std::max(kLeastQuota, static_cast<std::int64_t>(share * static_cast<double>(quota.period)));
  return quota;
}

bool is_throttled(const CpuQuota& quota) {
  return quota.period == kPeriod || quota.period == kLongPeriod;
}

Status write_control_file(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return fail_os("open " + path);
  while (true) {
    const ssize_t put = ::write(file.get(), text.data(), text.size());
    if (put == static_cast<ssize_t>(text.size())) return {};
    if (put >= 0) return fail(ErrorKind::kIo, fmt::format("write '{}' to {}: only a part was taken", text, path));
    if (errno != EINTR) return fail_os(fmt::format("write '{}' to {}", text, path));
  }
}

}  // namespace godwit
