#include "engine/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace godwit {

namespace {

namespace fs = std::filesystem;

// Records of one length, written by one pwrite: a writer that is killed leaves the old record or the new one.
constexpr std::string_view kMigratingRecord = "godwit journal 1 migrating\n";
constexpr std::string_view kStoppingRecord = "godwit journal 1 stopping \n";
constexpr std::string_view kCommittedRecord = "godwit journal 1 committed\n";

std::string journal_path(const std::string& folder, const VmProcess& vm) {
  return fmt::format("{}/{}-{}.journal", folder, vm.pid, vm.start_time);
}

Result<Journal::State> read_state(int fd, const std::string& path) {
  std::array<char, 64> text{};
  const auto n = ::pread(fd, text.data(), text.size(), 0);
  if (n < 0) return fail_os("read " + path);
  const std::string_view record(text.data(), static_cast<std::size_t>(n));
  if (record.empty()) return Journal::State::kNone;
  if (record == kMigratingRecord) return Journal::State::kMigrating;
  if (record == kStoppingRecord) return Journal::State::kStopping;
  if (record == kCommittedRecord) return Journal::State::kCommitted;
  return fail(ErrorKind::kRefused,
              path + " is no journal of this version of Godwit: a VM that it speaks of is not touched");
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

bool process_is_there(const VmProcess& vm) {
  std::ifstream stat(fmt::format("/proc/{}/stat", vm.pid));
  std::string line;
  if (!std::getline(stat, line)) return false;
  // Field 22, counted after the command's closing parenthesis, which may itself hold spaces and parentheses.
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return field == std::to_string(vm.start_time);
}

/// Journals of VM processes that have ended speak of nothing any more.
void remove_stale(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    VmProcess vm;
    const char* end = name.data() + name.size();
    const auto pid = std::from_chars(name.data(), end, vm.pid);
    if (pid.ec != std::errc{} || pid.ptr == end || *pid.ptr != '-') continue;
    const auto start = std::from_chars(pid.ptr + 1, end, vm.start_time);
    if (start.ec != std::errc{} || std::string_view(start.ptr) != ".journal") continue;
    if (!process_is_there(vm)) fs::remove(entry.path(), ignored);
  }
}

}  // namespace

std::string default_state_folder() {
  if (const char* folder = std::getenv("GODWIT_STATE_DIR")) return folder;
  if (::geteuid() == 0) return "/run/godwit";
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR")) return std::string(runtime) + "/godwit";
  return fmt::format("/tmp/godwit-{}", ::geteuid());
}

Result<Journal> Journal::open(const std::string& folder, const VmProcess& vm) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return fail(os_error("make " + folder, error.value()));
  remove_stale(folder);
  const auto path = journal_path(folder, vm);
  UniqueFd fd;
  do {
    fd.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return fail_os("open " + path);
    TRY(lock(fd.get(), path));
    // Between the two its last holder may have removed it: then what is locked is nobody's journal any more.
  } while (!is_file_at(fd.get(), path));
  const auto found = TRY(read_state(fd.get(), path));
  return Journal(path, std::move(fd), found);
}

Result<Journal::State> Journal::peek(const std::string& folder, const VmProcess& vm) {
  const auto path = journal_path(folder, vm);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) {
    if (errno == ENOENT) return State::kNone;
    return fail_os("open " + path);
  }
  TRY(lock(fd.get(), path));
  return read_state(fd.get(), path);
}

Status Journal::write(State state) {
  const auto record = state == State::kMigrating  ? kMigratingRecord
                      : state == State::kStopping ? kStoppingRecord
                                                  : kCommittedRecord;
  const auto n = ::pwrite(fd_.get(), record.data(), record.size(), 0);
  if (n != static_cast<ssize_t>(record.size())) return fail_os("write " + path_);
  // The page cache outlives this process; only the host's end could lose the record, and that ends the VM too.
  return {};
}

void Journal::clear() noexcept {
  if (!fd_) return;
  ::unlink(path_.c_str());
  fd_.reset();
}

}  // namespace godwit
