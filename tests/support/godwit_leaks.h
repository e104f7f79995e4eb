// What a migration must not leave behind: descriptors in QEMU, shared memory, processes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace godwit::testing {

/// What a process holds at a moment, by kind: "userfaultfd" -> 1, "socket" -> 4, "/dev/shm/x" -> 1.
class Footprint {
 public:
  static Result<Footprint> of(pid_t pid);
  /// What `later` holds more of, as "2 x socket"; empty if nothing.
  std::vector<std::string> grown_in(const Footprint& later) const;

 private:
  std::map<std::string, int> descriptors_;
};

/// Files in /dev/shm that are not of a test folder: to be compared before and after.
std::vector<std::string> shared_memory_files();

/// Processes whose environment holds NAME=VALUE: what a marked program started and left behind.
std::vector<pid_t> processes_marked(const std::string& name, const std::string& value);

}  // namespace godwit::testing
