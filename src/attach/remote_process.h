// Another process, reached from outside: its descriptors, its memory map, and system calls made inside it.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

/// One line of /proc/PID/maps.
struct Mapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  std::uint64_t offset = 0;  ///< into the file, bytes
  std::uint64_t device = 0;  ///< st_dev of the file; 0 for anonymous memory
  std::uint64_t inode = 0;   ///< 0 for anonymous memory
  std::string path;          ///< "/memfd:ram (deleted)", "/dev/shm/x", "[heap]", ""
};

class KeptCallPlace;

class RemoteProcess {
 public:
  /// kNotFound if it is gone, kNoPermission if this user may not trace it.
  static Result<RemoteProcess> open(pid_t pid);

  pid_t pid() const noexcept { return pid_; }
  /// In clock ticks since boot (/proc/PID/stat): with the pid it names this very process for ever.
  std::uint64_t start_time() const noexcept { return start_time_; }
  bool alive() const noexcept;
  int pidfd() const noexcept { return pidfd_.get(); }

  Result<std::vector<Mapping>> mappings() const;
  /// The file behind a shared mapping, opened for reading and writing: by the process's own descriptor of the same
  /// inode, else by /proc/PID/map_files.
  Result<UniqueFd> open_backing_file(const Mapping& mapping) const;
  /// A copy of the process's descriptor (pidfd_getfd).
  Result<UniqueFd> take_descriptor(int remote_fd) const;
  /// The numbers of all that it has open.
  Result<std::vector<int>> descriptors() const;
  /// The number under which the process has open the file that our descriptor `fd` is open on.
  Result<int> find_descriptor(int fd) const;
  /// /proc/PID/pagemap, for PAGEMAP_SCAN.
  Result<UniqueFd> open_pagemap() const;
  /// Other processes (not this one, not `pid()`) that map the file of this mapping: "vhost-user-blk (pid 17)". Without
  /// root's rights other users' processes cannot be looked into and are left out.
  Result<std::vector<std::string>> others_mapping(const Mapping& mapping) const;
  /// Where the last call was made in it.
  KeptCallPlace& call_place() const noexcept { return *call_place_; }

 private:
  RemoteProcess(pid_t pid, std::uint64_t start_time, UniqueFd pidfd);
  pid_t pid_;
  std::uint64_t start_time_;
  UniqueFd pidfd_;
  std::shared_ptr<KeptCallPlace> call_place_;
};

/// Makes one system call inside the process, on its main thread, and gives what it returned (a negative errno is
/// turned into an error). DEATH-SAFE: if this process is killed at any point, the other goes on as if nothing had
/// happened; at worst the call was made and its effect stays (a leaked descriptor). The thread is stopped for
/// 0.02-0.4 ms; the first call to a process takes a millisecond more, without stopping anything. From one thread only.
/// kNoPermission, kNotFound, kUnsupported (not x86-64; a 32-bit process), kRefused (a seccomp filter forbids the call,
/// or may: it has not been made).
Result<std::int64_t> remote_syscall(const RemoteProcess& process, long number, std::array<std::uint64_t, 6> arguments);

/// The same, and gives what the call returned as it is, a negative errno too: an error is then always ours.
Result<std::int64_t> remote_syscall_returns(const RemoteProcess& process, long number,
                                            std::array<std::uint64_t, 6> arguments);

/// Whether remote_syscall() would make this call: stops the thread as it does, looks, and makes none.
Status check_remote_syscall(const RemoteProcess& process, long number, std::array<std::uint64_t, 6> arguments);

}  // namespace godwit
