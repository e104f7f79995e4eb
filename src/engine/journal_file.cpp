#include "engine/journal_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/small_files.h"
#include "engine/missing_record.h"

namespace godwit {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".journal";

Result<std::string> this_boot() {
  std::string id = boot_id();
  // A UUID; whatever else this may be, it must not lead out of the folder.
  if (id.empty() || id.find_first_not_of("0123456789abcdef-") != std::string::npos) {
    return fail(ErrorKind::kIo, "/proc/sys/kernel/random/boot_id does not tell which boot this is");
  }
  return id;
}

/// What a journal's name says; nothing for other files.
struct Named {
  VmProcess vm;
  std::string boot;
};

std::optional<Named> parse_name(std::string_view name) {
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  Named named;
  const char* end = name.data() + name.size();
  const auto pid = std::from_chars(name.data(), end, named.vm.pid);
  if (pid.ec != std::errc{} || pid.ptr == end || *pid.ptr != '-' || named.vm.pid <= 0) return std::nullopt;
  const auto start = std::from_chars(pid.ptr + 1, end, named.vm.start_time);
  if (start.ec != std::errc{} || start.ptr == end || *start.ptr != '-') return std::nullopt;
  named.boot.assign(start.ptr + 1, end);
  return named;
}

/// Certainly: a process that cannot be looked at counts as alive.
bool is_gone(const Named& named, const std::string& boot) {
  if (named.boot != boot) return true;
  if (::kill(named.vm.pid, 0) != 0 && errno == ESRCH) return true;
  const auto start = read_start_time(named.vm.pid);
  return start && *start != named.vm.start_time;
}

bool is_file_at(int fd, const std::string& path) {
  struct stat held {};
  struct stat named {};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

Status lock(int fd, const std::string& path) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return {};
  if (errno == EWOULDBLOCK)
    return fail(ErrorKind::kRefused, "another godwit is moving this VM (it holds " + path + ")");
  return fail_os("lock " + path);
}

Result<UniqueFd> open_locked(const std::string& path, int flags) {
  UniqueFd fd;
  do {
    fd.reset(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return fail_os("open " + path);
    TRY(lock(fd.get(), path));
    // Between the two its last holder may have removed it: then what is locked is nobody's journal any more.
  } while (!is_file_at(fd.get(), path));
  return fd;
}

}  // namespace

std::string default_state_folder() {
  if (const char* folder = std::getenv("GODWIT_STATE_DIR")) return folder;
  if (::geteuid() == 0) return "/run/godwit";
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR")) return std::string(runtime) + "/godwit";
  return fmt::format("/tmp/godwit-{}", ::geteuid());
}

Result<std::string> journal_path(const std::string& folder, const VmProcess& vm) {
  return fmt::format("{}/{}-{}-{}{}", folder, vm.pid, vm.start_time, TRY(this_boot()), kSuffix);
}

std::string missing_record_path(std::string_view journal_path) {
  journal_path.remove_suffix(kSuffix.size());
  return std::string(journal_path) + ".missing";
}

Result<UniqueFd> open_and_lock(const std::string& path) {
  return open_locked(path, O_RDWR | O_CREAT);
}

Result<UniqueFd> lock_if_there(const std::string& path) {
  auto fd = open_locked(path, O_RDONLY);
  if (!fd && fd.error().kind == ErrorKind::kNotFound) return UniqueFd();
  return fd;
}

void remove_stale_journals(const std::string& folder) {
  const auto boot = this_boot();
  if (!boot) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const auto named = parse_name(entry.path().filename().native());
    if (!named || !is_gone(*named, *boot)) continue;
    // Removed with the lock held: an engine that outlives its VM is still at work on its record.
    const auto held = lock_if_there(entry.path());
    if (!held || !*held) continue;
    remove_missing_record(missing_record_path(entry.path().native()));
    fs::remove(entry.path(), ignored);
  }
}

}  // namespace godwit
