#include "tests/support/qemu_slow_disk.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <fstream>
#include <sstream>

#include "tests/support/godwit_child.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {
namespace {

const std::filesystem::path kRoot = "/sys/fs/cgroup";

Status write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) return fail(ErrorKind::kUnsupported, fmt::format("cannot write '{}' into {}", text, path.string()));
  return {};
}

/// Processes of a group that is to go.
void empty(const std::filesystem::path& group) {
  std::istringstream pids(read_text(group / "cgroup.procs"));
  for (std::string pid; pids >> pid;) (void)write_text(group.parent_path() / "cgroup.procs", pid);
}

void remove_group(const std::filesystem::path& group) {
  empty(group);
  std::error_code ignored;
  std::filesystem::remove(group, ignored);
}

void sweep(const std::filesystem::path& root) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(root, error), end; !error && entry != end; entry.increment(error)) {
    if (of_dead_test(entry->path().filename().string())) remove_group(entry->path());
  }
}

/// A limit belongs to a whole disk: the number of the disk that a partition is on.
Result<std::string> disk_of(const std::filesystem::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) return fail_os("stat " + file.string());
  const std::string number = fmt::format("{}:{}", major(info.st_dev), minor(info.st_dev));
  const std::filesystem::path device = "/sys/dev/block/" + number;
  std::error_code error;
  if (!std::filesystem::exists(device, error)) {
    return fail(ErrorKind::kUnsupported, file.string() + " is on no disk of its own");
  }
  if (!std::filesystem::exists(device / "partition", error)) return number;
  std::string whole = read_text(std::filesystem::canonical(device, error).parent_path() / "dev");
  return whole.substr(0, whole.find('\n'));
}

}  // namespace

Result<SlowDisk> SlowDisk::limit(pid_t pid, const std::filesystem::path& file, std::uint64_t bytes_per_second) {
  const std::string disk = TRY(disk_of(file));
  std::error_code error;
  const bool version_1 = std::filesystem::exists(kRoot / "blkio/blkio.throttle.read_bps_device", error);
  const auto root = version_1 ? kRoot / "blkio" : kRoot;
  sweep(root);
  if (!version_1) {
    if (read_text(root / "cgroup.controllers").find("io") == std::string::npos) {
      return fail(ErrorKind::kUnsupported, "no control group can limit disk reads here");
    }
    TRY(write_text(root / "cgroup.subtree_control", "+io"));
  }
  const auto group = root / (test_prefix() + "disk");
  if (!std::filesystem::create_directory(group, error)) {
    return fail(ErrorKind::kNoPermission, "cannot make " + group.string());
  }
  SlowDisk slow(group);
  TRY(version_1 ? write_text(group / "blkio.throttle.read_bps_device", fmt::format("{} {}", disk, bytes_per_second))
                : write_text(group / "io.max", fmt::format("{} rbps={}", disk, bytes_per_second)));
  TRY(write_text(group / "cgroup.procs", std::to_string(pid)));
  return slow;
}

SlowDisk::SlowDisk(SlowDisk&& other) noexcept : group_(std::move(other.group_)) {
  other.group_.clear();
}

SlowDisk::~SlowDisk() {
  if (!group_.empty()) remove_group(group_);
}

}  // namespace godwit::testing
