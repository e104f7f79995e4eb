#include "host/cpu_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "base/small_files.h"

namespace godwit {

namespace {

double number(std::string_view text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// "50000 100000", or "max 100000": none.
std::optional<double> quota_v2(const std::string& folder) {
  const auto text = read_small_file(folder + "/cpu.max");
  const auto space = text ? text->find(' ') : std::string::npos;
  if (space == std::string::npos || text->starts_with("max")) return std::nullopt;
  const double period = number(std::string_view(*text).substr(space + 1));
  return period > 0 ? std::optional(number(*text) / period) : std::nullopt;
}

std::optional<double> quota_v1(const std::string& folder) {
  const double quota = number(read_small_file(folder + "/cpu.cfs_quota_us").value_or("-1"));
  const double period = number(read_small_file(folder + "/cpu.cfs_period_us").value_or("0"));
  return quota > 0 && period > 0 ? std::optional(quota / period) : std::nullopt;
}

Duration used_v2(const std::string& folder) {
  // Lines of "key number", without a colon.
  const std::string text = read_small_file(folder + "/cpu.stat").value_or("");
  const auto at = text.find("usage_usec ");
  if (at == std::string::npos) return {};
  return std::chrono::microseconds(static_cast<std::int64_t>(number(std::string_view(text).substr(at + 11))));
}

Duration used_v1(const std::string& folder) {
  return Duration(static_cast<std::int64_t>(read_number(folder + "/cpuacct.usage").value_or(0)));
}

/// A group and those that it lies in, whose limits count for it too.
template <typename Quota, typename Used>
void add_groups(const std::string& root, std::string_view path, Quota quota_of, Used used_of,
                std::vector<CpuGroup>& groups) {
  while (true) {
    const std::string folder = fmt::format("{}{}", root, path == "/" ? "" : path);
    if (const auto quota = quota_of(folder)) groups.push_back({*quota, used_of(folder)});
    if (path.empty() || path == "/") return;
    path = path.substr(0, path.rfind('/'));
  }
}

bool names(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    const auto comma = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, comma) == wanted) return true;
    controllers.remove_prefix(std::min(comma + 1, controllers.size()));
  }
  return false;
}

}  // namespace

std::vector<CpuGroup> limiting_cpu_groups(const HostPaths& paths) {
  std::vector<CpuGroup> groups;
  const std::string text = read_small_file(paths.proc + "/self/cgroup").value_or("");
  std::string_view rest = text;
  while (!rest.empty()) {  // "3:cpu,cpuacct:/path", and "0::/path" for version 2
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const auto path = line.substr(second + 1);
    const std::string mounts = paths.sys + "/fs/cgroup";
    if (controllers.empty()) {
      add_groups(mounts, path, quota_v2, used_v2, groups);
    } else if (names(controllers, "cpu")) {
      add_groups(fmt::format("{}/{}", mounts, controllers), path, quota_v1, used_v1, groups);
    }
  }
  return groups;
}

}  // namespace godwit
