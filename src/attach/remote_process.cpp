#include "attach/remote_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <functional>
#include <memory>
#include <optional>

#include "attach/call_place.h"
#include "attach/proc_files.h"
#include "base/small_files.h"

namespace godwit {
namespace {

/// Calls visit(number) for each entry of a folder of /proc that is a number, until it gives false.
Status for_each_number(const std::string& folder, const std::function<bool(int)>& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(folder.c_str()), &::closedir);
  if (!entries) return fail_os("open " + folder);
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    int number = 0;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (problem != std::errc{} || end != name.data() + name.size()) continue;
    if (!visit(number)) break;
  }
  return {};
}

bool same_file(const Mapping& mapping, const struct stat& status) {
  return status.st_ino == mapping.inode && status.st_dev == mapping.device && S_ISREG(status.st_mode);
}

/// What a symbolic link says; empty if it is not one.
std::string link_of(const std::string& path) {
  std::string target(4096, '\0');
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  target.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  return target;
}

}  // namespace

Result<std::vector<pid_t>> list_processes() {
  std::vector<pid_t> processes;
  TRY(for_each_number("/proc", [&](int number) {
    processes.push_back(number);
    return true;
  }));
  return processes;
}

RemoteProcess::RemoteProcess(pid_t pid, std::uint64_t start_time, UniqueFd pidfd)
    : pid_(pid), start_time_(start_time), pidfd_(std::move(pidfd)), call_place_(std::make_shared<KeptCallPlace>()) {}

Result<RemoteProcess> RemoteProcess::open(pid_t pid) {
  if (pid <= 0) return fail(ErrorKind::kInvalidArgument, fmt::format("{} is not a process id", pid));
  // KERNEL: pidfd_open, Linux 5.3.
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    if (errno == ESRCH || errno == EINVAL) return fail(ErrorKind::kNotFound, fmt::format("no process {}", pid), errno);
    if (errno == ENOSYS) return fail(ErrorKind::kUnsupported, "the kernel lacks pidfd_open (Linux 5.3)", errno);
    return fail_os(fmt::format("pidfd_open {}", pid));
  }
  const std::uint64_t start_time = TRY(read_start_time(pid));
  // Opening its memory asks the kernel the very question: may this user trace it?
  const UniqueFd memory(::open(fmt::format("/proc/{}/mem", pid).c_str(), O_RDWR | O_CLOEXEC));
  if (!memory) return fail_os(fmt::format("attach to process {}", pid));
  RemoteProcess process(pid, start_time, std::move(pidfd));
  // Still alive, so what was read under this number was about this process and not about a later one.
  if (!process.alive()) return fail(ErrorKind::kNotFound, fmt::format("process {} has ended", pid));
  return process;
}

bool RemoteProcess::alive() const noexcept {
  pollfd ended{pidfd_.get(), POLLIN, 0};
  return ::poll(&ended, 1, 0) == 0;
}

Result<std::vector<Mapping>> RemoteProcess::mappings() const {
  auto mappings = TRY(read_mappings(fmt::format("/proc/{}/maps", pid_)));
  if (!alive()) return fail(ErrorKind::kNotFound, fmt::format("process {} has ended", pid_));
  return mappings;
}

Result<UniqueFd> RemoteProcess::open_backing_file(const Mapping& mapping) const {
  if (mapping.inode == 0) return fail(ErrorKind::kInvalidArgument, "the mapping has no file behind it");
  const std::string folder = fmt::format("/proc/{}/fd", pid_);
  UniqueFd file;
  TRY(for_each_number(folder, [&](int number) {
    const std::string path = fmt::format("{}/{}", folder, number);
    // Its name asks no server, which may be gone; what is called otherwise is found by its address below.
    if (link_of(path) != mapping.path) return true;
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0 || !same_file(mapping, status)) return true;
    UniqueFd candidate(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    // Looked at again: the process may have used the number for another file in between.
    if (!candidate || ::fstat(candidate.get(), &status) != 0 || !same_file(mapping, status)) return true;
    file = std::move(candidate);
    return false;
  }));
  if (file) return file;
  // Goes by address, so it serves file systems too whose st_dev is not what the memory map shows (btrfs, overlayfs).
  const std::string path = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, mapping.start, mapping.end);
  file.reset(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return fail_os(fmt::format("open {} ({})", mapping.path, path));
  return file;
}

Result<UniqueFd> RemoteProcess::take_descriptor(int remote_fd) const {
  // KERNEL: pidfd_getfd, Linux 5.6.
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd_.get(), remote_fd, 0)));
  if (!fd && errno == ENOSYS) return fail(ErrorKind::kUnsupported, "the kernel lacks pidfd_getfd (Linux 5.6)", errno);
  if (!fd) return fail_os(fmt::format("take descriptor {} of process {}", remote_fd, pid_));
  return fd;
}

Result<std::vector<int>> RemoteProcess::descriptors() const {
  std::vector<int> numbers;
  TRY(for_each_number(fmt::format("/proc/{}/fd", pid_), [&](int number) {
    numbers.push_back(number);
    return true;
  }));
  return numbers;
}

Result<int> RemoteProcess::find_descriptor(int fd) const {
  struct stat wanted {};
  if (::fstat(fd, &wanted) != 0) return fail_os("look at a descriptor");
  // One file that was opened once is called alike in every process. Files of other names are not even looked at: one on
  // a server that is gone would never answer.
  const std::string called = link_of(fmt::format("/proc/self/fd/{}", fd));
  std::optional<int> found;
  TRY(for_each_number(fmt::format("/proc/{}/fd", pid_), [&](int number) {
    const std::string path = fmt::format("/proc/{}/fd/{}", pid_, number);
    struct stat status {};
    if (link_of(path) != called || ::stat(path.c_str(), &status) != 0) return true;
    if (status.st_dev == wanted.st_dev && status.st_ino == wanted.st_ino) found = number;
    return !found;
  }));
  if (!found) return fail(ErrorKind::kNotFound, fmt::format("process {} does not have the descriptor open", pid_));
  return *found;
}

Result<UniqueFd> RemoteProcess::open_pagemap() const {
  const std::string path = fmt::format("/proc/{}/pagemap", pid_);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_os("open " + path);
  return fd;
}

Result<std::vector<std::string>> RemoteProcess::others_mapping(const Mapping& mapping) const {
  std::vector<std::string> others;
  if (mapping.inode == 0) return others;
  const auto maps_it = [&](const Mapping& theirs) {
    return theirs.inode == mapping.inode && theirs.device == mapping.device;
  };
  std::optional<Error> problem;
  TRY(for_each_number("/proc", [&](int number) {
    if (number == pid_ || number == ::getpid()) return true;
    const auto theirs = read_mappings(fmt::format("/proc/{}/maps", number));
    if (!theirs) {
      const auto& error = theirs.error();
      // Ended while we looked, or not ours to look at.
      if (error.kind == ErrorKind::kNotFound || error.kind == ErrorKind::kNoPermission) return true;
      problem = error;
      return false;
    }
    if (std::any_of(theirs->begin(), theirs->end(), maps_it)) others.push_back(name_of_process(number));
    return true;
  }));
  if (problem) return fail(*std::move(problem));
  return others;
}

}  // namespace godwit
