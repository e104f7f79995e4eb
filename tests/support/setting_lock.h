// One test at a time changes a setting of the kernel: ctest runs each as a process, several side by side, and each puts
// back what it found.
#pragma once

#include <fcntl.h>
#include <sys/file.h>

#include "base/unique_fd.h"

namespace godwit::testing {

/// Held while the descriptor is open; waits for others. Empty where there is no such setting.
inline UniqueFd lock_setting(const char* path) {
  UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (file && ::flock(file.get(), LOCK_EX) != 0) file.reset();
  return file;
}

}  // namespace godwit::testing
