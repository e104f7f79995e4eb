// What QEMU writes on its stderr from now on, where that is a file: many of its reasons are nowhere else.
#pragma once

#include <cstdint>
#include <string>

#include "base/unique_fd.h"

namespace godwit::qemu {

class LogEnd {
 public:
  /// Of process `pid`. Works on after the process has ended. A pipe or a terminal is somebody else's to read: then
  /// nothing is known.
  static LogEnd of(pid_t pid);

  /// Its last lines since of(), as one line of printable text of at most a few hundred bytes; empty if there are none.
  /// Any thread.
  std::string lines() const;

 private:
  UniqueFd file_;
  std::uint64_t begin_ = 0;
};

}  // namespace godwit::qemu
