#include "throttle/undo_record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>

#include "base/random.h"
#include "base/small_files.h"
#include "base/unique_fd.h"
#include "throttle/cgroup_places.h"

namespace godwit {
namespace {

constexpr std::string_view kFirstLine = "godwit-throttle 1";
constexpr std::string_view kGroupPrefix = "godwit-throttle-";
// A vCPU is a line of some 200 bytes; the largest VMs have 4096.
constexpr std::size_t kMostRecordBytes = std::size_t{4} << 20;
// A thread that has just ended may hold its group for a moment; threads may be born while others are moved.
constexpr int kMostAttempts = 200;
constexpr timespec kBetweenAttempts{0, 2'000'000};

std::string_view word(std::string_view& line) {
  const auto at = std::min(line.find(' '), line.size());
  const std::string_view taken = line.substr(0, at);
  line.remove_prefix(std::min(at + 1, line.size()));
  return taken;
}

template <typename Number>
bool read_number_word(std::string_view& line, Number& into) {
  const auto text = word(line);
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), into);
  return !text.empty() && problem == std::errc{} && end == text.data() + text.size();
}

bool read_version(std::string_view& line, CgroupVersion& version) {
  int number = 0;
  if (!read_number_word(line, number) || (number != 1 && number != 2)) return false;
  version = static_cast<CgroupVersion>(number);
  return true;
}

/// The rest of the line: an absolute path.
bool read_folder(std::string_view line, std::string& folder) {
  folder = line;
  return folder.starts_with('/') && folder.find("/../") == std::string::npos;
}

bool read_process(std::string_view line, ProcessName& process) {
  return read_number_word(line, process.pid) && read_number_word(line, process.start_time) && process.pid > 0;
}

bool read_remove(std::string_view line, UndoRecord& record) {
  UndoRecord::Remove remove;
  if (!read_version(line, remove.version) || !read_folder(line, remove.folder)) return false;
  if (!is_group_of_ours(remove.folder)) return false;
  record.removes.push_back(std::move(remove));
  return true;
}

bool read_restore(std::string_view line, UndoRecord& record) {
  UndoRecord::Restore restore;
  std::int64_t quota = 0;
  if (!read_version(line, restore.version) || !read_number_word(line, quota) ||
      !read_number_word(line, restore.quota.period) || !read_number_word(line, restore.quota.burst) ||
      !read_folder(line, restore.folder)) {
    return false;
  }
  if (quota >= 0) restore.quota.quota = quota;
  record.restores.push_back(std::move(restore));
  return true;
}

bool read_withdrawal(std::string_view line, UndoRecord& record) {
  std::string folder;
  if (!read_folder(line, folder)) return false;
  record.withdrawals.push_back(std::move(folder));
  return true;
}

bool read_line(std::string_view line, UndoRecord& record) {
  const auto what = word(line);
  if (what == "remove") return read_remove(line, record);
  if (what == "restore") return read_restore(line, record);
  if (what == "withdraw") return read_withdrawal(line, record);
  if (what == "qemu") return read_process(line, record.qemu);
  if (what == "engine") return read_process(line, record.engine);
  if (what == "boot") record.boot = line;
  return what == "boot";
}

bool is_there(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

bool has_gone(const Error& error) {
  return error.kind == ErrorKind::kNotFound || error.os_error == ENODEV;
}

/// Every thread that is in it, also those that were born there.
Status empty_group(CgroupVersion version, const std::string& folder) {
  const std::string above = folder.substr(0, folder.rfind('/'));
  for (const pid_t thread : TRY(threads_in(version, folder))) {
    const Status moved = move_thread(version, thread, above);
    if (!moved && !has_gone(moved.error())) return moved;
  }
  return {};
}

Status remove_group(const UndoRecord::Remove& remove) {
  for (int attempt = 1;; ++attempt) {
    if (!is_there(remove.folder)) return {};
    const Status emptied = empty_group(remove.version, remove.folder);
    if (!emptied && !has_gone(emptied.error())) return emptied;
    if (::rmdir(remove.folder.c_str()) == 0 || errno == ENOENT) return {};
    if (errno != EBUSY || attempt == kMostAttempts) return fail_os("remove " + remove.folder);
    ::nanosleep(&kBetweenAttempts, nullptr);
  }
}

Status restore_quota(const UndoRecord::Restore& restore) {
  const auto now = read_quota(restore.version, restore.folder);
  if (!now) return has_gone(now.error()) ? Status() : fail(now.error());
  if (!is_throttled(*now)) return {};  // already done, or others have set something else
  return write_quota(restore.version, restore.folder, restore.quota);
}

/// Unless somebody has made groups there since who need it.
Status withdraw_controller(const std::string& folder) {
  const std::string file = folder + "/cgroup.subtree_control";
  const auto enabled = read_small_file(file);
  if (!enabled || !has_word(*enabled, "cpu") || !groups_below(folder).empty()) return {};
  return write_control_file(file, "-cpu");
}

Status make_private_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return fail_os("make " + folder);
  struct stat about {};
  if (::lstat(folder.c_str(), &about) != 0) return fail_os("look at " + folder);
  if (!S_ISDIR(about.st_mode) || about.st_uid != ::geteuid()) {
    return fail(ErrorKind::kRefused, folder + " is not a folder of this user's");
  }
  return {};
}

Status write_and_sync(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_os("open " + path);
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t put = ::write(file.get(), rest.data(), rest.size());
    if (put < 0 && errno != EINTR) return fail_os("write " + path);
    if (put > 0) rest.remove_prefix(static_cast<std::size_t>(put));
  }
  if (::fsync(file.get()) != 0) return fail_os("write " + path + " to disk");
  return {};
}

}  // namespace

Result<ProcessName> name_process(pid_t pid) {
  return ProcessName{pid, TRY(read_start_time(pid))};
}

bool is_alive(const ProcessName& process) {
  const auto start = read_start_time(process.pid);
  if (!start) return start.error().kind != ErrorKind::kNotFound && start.error().os_error != ESRCH;
  if (*start != process.start_time) return false;
  const auto status = read_small_file(fmt::format("/proc/{}/status", process.pid));
  const auto state = status ? value_of_line(*status, "State") : std::nullopt;
  return state && !state->starts_with('Z') && !state->starts_with('X');
}

std::string text_of(const UndoRecord& record) {
  std::string text = fmt::format("{}\nboot {}\nqemu {} {}\nengine {} {}\n", kFirstLine, record.boot, record.qemu.pid,
                                 record.qemu.start_time, record.engine.pid, record.engine.start_time);
  for (const auto& remove : record.removes) {
    text += fmt::format("remove {} {}\n", static_cast<int>(remove.version), remove.folder);
  }
  for (const auto& restore : record.restores) {
    const auto& quota = restore.quota;
    text += fmt::format("restore {} {} {} {} {}\n", static_cast<int>(restore.version), quota.quota.value_or(-1),
                        quota.period, quota.burst, restore.folder);
  }
  for (const auto& folder : record.withdrawals) text += fmt::format("withdraw {}\n", folder);
  return text;
}

Result<UndoRecord> parse_undo_record(std::string_view text) {
  UndoRecord record;
  bool first = true;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    if (end == std::string_view::npos || (first ? line != kFirstLine : !read_line(line, record))) {
      return fail(ErrorKind::kProtocol, fmt::format("not a line of such a record: '{}'", line.substr(0, 200)));
    }
    first = false;
    text.remove_prefix(end + 1);
  }
  if (record.boot.empty() || record.qemu.pid == 0 || record.engine.pid == 0) {
    return fail(ErrorKind::kProtocol, "the record is not whole");
  }
  return record;
}

Result<std::string> new_group_name(pid_t qemu) {
  std::array<std::byte, 6> random{};
  TRY(fill_with_random(random));
  std::string name = fmt::format("{}{}-", kGroupPrefix, qemu);
  for (const std::byte byte : random) name += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return name;
}

bool is_group_of_ours(std::string_view folder) {
  const auto slash = folder.rfind('/');
  return slash != std::string_view::npos && slash > 0 && folder.substr(slash + 1).starts_with(kGroupPrefix);
}

Status undo(const UndoRecord& record) {
  if (record.boot != boot_id()) return {};  // its groups went with its host
  Status result;
  const auto note = [&result](const Status& done) {
    if (!done && result) result = done;
  };
  // The guest first: limits off, then threads out of groups.
  for (const auto& restore : record.restores) note(restore_quota(restore));
  for (const auto& remove : record.removes) note(remove_group(remove));
  for (const auto& folder : record.withdrawals) note(withdraw_controller(folder));
  return result;
}

std::string undo_file_of(const std::string& state_folder, const ProcessName& qemu) {
  return fmt::format("{}/{}-{}.throttle", state_folder, qemu.pid, qemu.start_time);
}

Status write_undo_file(const std::string& path, const UndoRecord& record) {
  const std::string text = text_of(record);
  if (!parse_undo_record(text)) {
    return fail(ErrorKind::kUnsupported, "the names of QEMU's control groups cannot be written into a record");
  }
  const std::string folder = path.substr(0, path.rfind('/'));
  TRY(make_private_folder(folder));
  const std::string draft = path + ".new";
  TRY(write_and_sync(draft, text));
  if (::rename(draft.c_str(), path.c_str()) != 0) return fail_os("rename " + draft);
  const UniqueFd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || ::fsync(opened.get()) != 0) return fail_os("write " + folder + " to disk");
  return {};
}

Result<UndoRecord> read_undo_file(const std::string& path) {
  const std::string text = TRY(read_whole_file(path, kMostRecordBytes));
  return TRY_IN(path, parse_undo_record(text));
}

Status undo_file(const std::string& path) {
  const auto record = read_undo_file(path);
  if (!record) return record.error().kind == ErrorKind::kNotFound ? Status() : fail(record.error());
  TRY(undo(*record));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_os("remove " + path);
  return {};
}

}  // namespace godwit
