// A Unix socket's file: made by binding, removed by whoever has made it.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

/// A socket file that is ours: removed when this goes, unless another has taken its name.
class UnixSocketFile {
 public:
  UnixSocketFile() = default;
  UnixSocketFile(const UnixSocketFile&) = delete;
  UnixSocketFile& operator=(const UnixSocketFile&) = delete;
  ~UnixSocketFile();

  /// A socket bound to `path`, which nobody listens on yet. Replaces the file of a socket on which nobody listens any
  /// more; an error if somebody does, or if it is another kind of file. `mode`: of the file, from its first moment on,
  /// if the umask allows it; 0: by the umask.
  Result<UniqueFd> bind(const std::string& path, mode_t mode = 0);

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace godwit
