#include "throttle/cgroup_places.h"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>

#include "base/small_files.h"

namespace godwit {
namespace {

// A group may hold every thread of a large host, 8 bytes each.
constexpr std::size_t kMostThreadBytes = std::size_t{16} << 20;

/// The text up to `end`, which is taken off with it.
std::string_view take_until(std::string_view& text, char end) {
  const auto at = std::min(text.find(end), text.size());
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return taken;
}

bool lists(std::string_view list, std::string_view wanted) {
  while (!list.empty()) {
    if (take_until(list, ',') == wanted) return true;
  }
  return false;
}

/// The kernel writes a space as \040, and so on.
std::string without_escapes(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr == text.data() + i + 4) {
      plain.push_back(static_cast<char>(code));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

/// ID PARENT MAJOR:MINOR ROOT AT OPTIONS [MORE...] - TYPE SOURCE SUPER-OPTIONS
std::optional<CgroupMount> mount_of(std::string_view line) {
  for (int i = 0; i < 3; ++i) take_until(line, ' ');
  CgroupMount mount;
  mount.root = without_escapes(take_until(line, ' '));
  mount.at = without_escapes(take_until(line, ' '));
  const auto separator = line.find(" - ");
  if (separator == std::string_view::npos) return std::nullopt;
  line.remove_prefix(separator + 3);
  const auto type = take_until(line, ' ');
  take_until(line, ' ');
  if (type == "cgroup2") {
    mount.version = CgroupVersion::kV2;
    return mount;
  }
  mount.version = CgroupVersion::kV1;
  if (type == "cgroup" && lists(line, "cpu")) return mount;
  return std::nullopt;
}

/// The thread's path in the hierarchy, of lines "3:cpu,cpuacct:/path", and "0::/path" for version 2.
std::optional<std::string> path_in(std::string_view text, CgroupVersion version) {
  while (!text.empty()) {
    std::string_view line = take_until(text, '\n');
    const auto number = take_until(line, ':');
    const auto controllers = take_until(line, ':');
    if (version == CgroupVersion::kV2 ? number == "0" : lists(controllers, "cpu")) return std::string(line);
  }
  return std::nullopt;
}

const char* thread_list(CgroupVersion version) {
  return version == CgroupVersion::kV2 ? "/cgroup.threads" : "/tasks";
}

}  // namespace

std::vector<CgroupMount> cgroup_mounts_in(std::string_view mountinfo) {
  std::vector<CgroupMount> mounts;
  while (!mountinfo.empty()) {
    if (auto mount = mount_of(take_until(mountinfo, '\n'))) mounts.push_back(*std::move(mount));
  }
  return mounts;
}

std::vector<CgroupMount> cgroup_mounts(const HostPaths& paths) {
  return cgroup_mounts_in(read_small_file(paths.proc + "/self/mountinfo").value_or(""));
}

Result<std::string> cgroup_folder_of(const CgroupMount& mount, pid_t process, pid_t thread, const HostPaths& paths) {
  const std::string text =
      TRY(read_whole_file(fmt::format("{}/{}/task/{}/cgroup", paths.proc, process, thread), 1 << 16));
  const auto path = path_in(text, mount.version);
  if (!path) return fail(ErrorKind::kUnsupported, fmt::format("thread {} is not in this hierarchy", thread));
  std::string_view below = *path;
  if (mount.root != "/") {
    const bool inside =
        below.starts_with(mount.root) && (below.size() == mount.root.size() || below[mount.root.size()] == '/');
    if (!inside) below = "/..";
    if (inside) below.remove_prefix(mount.root.size());
  }
  // Of a group outside of what our namespace shows, the kernel says "/../path".
  if (below.starts_with("/..")) {
    return fail(ErrorKind::kUnsupported, fmt::format("the group {} of thread {} is not visible here", *path, thread));
  }
  return mount.at + std::string(below == "/" ? "" : below);
}

bool is_root_group(const CgroupMount& mount, const std::string& folder) {
  return mount.root == "/" && folder == mount.at;
}

Result<std::vector<pid_t>> threads_in(CgroupVersion version, const std::string& folder) {
  const std::string text = TRY(read_whole_file(folder + thread_list(version), kMostThreadBytes));
  std::vector<pid_t> threads;
  for (std::string_view rest = text; !rest.empty();) {
    const auto line = take_until(rest, '\n');
    pid_t thread = 0;
    if (std::from_chars(line.data(), line.data() + line.size(), thread).ec == std::errc{}) threads.push_back(thread);
  }
  return threads;
}

Status move_thread(CgroupVersion version, pid_t thread, const std::string& folder) {
  const Status moved = write_control_file(folder + thread_list(version), std::to_string(thread));
  if (moved || moved.error().os_error != ESRCH) return moved;
  return fail(ErrorKind::kNotFound, fmt::format("thread {} has ended", thread), ESRCH);
}

std::vector<std::string> groups_below(const std::string& folder) {
  std::vector<std::string> groups;
  std::error_code error;
  std::filesystem::directory_iterator at(folder, error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    std::error_code gone;
    if (at->is_directory(gone)) groups.push_back(at->path().string());
  }
  return groups;
}

bool has_word(std::string_view text, std::string_view word) {
  while (!text.empty()) {
    if (take_until(text, ' ') == word) return true;
  }
  return false;
}

}  // namespace godwit
