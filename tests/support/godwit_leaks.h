// What a migration must not leave behind: descriptors in QEMU, shared memory, processes.
#pragma once

#include <filesystem>
#include <map>
#include <set>
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
  /// Counts what came between the two as having been there before.
  void add_growth(const Footprint& before, const Footprint& after);

 private:
  std::map<std::string, int> descriptors_;
};

/// Files in /dev/shm, but not the tests' own folders.
std::set<std::string> shared_memory_files();
/// Those that have come since, without what other programs on this machine make meanwhile: files with the number of a
/// process in their name that is alive and not one of `ours`.
std::vector<std::string> new_shared_memory_files(const std::set<std::string>& before, const std::vector<pid_t>& ours);

/// Processes whose environment holds NAME=VALUE: what a marked program started and left behind.
std::vector<pid_t> processes_marked(const std::string& name, const std::string& value);

}  // namespace godwit::testing
