// A small process that outlives the engine, so that a guest is not left throttled by the engine's death.
//
//   engine --fork, at its very beginning--> keeper: holds nothing but one end of a socket
//          --the file that says what to undo-->  notes its name
//   engine dies: the socket ends             keeper undoes what the files say, and ends
//   engine has released by itself, and ends  keeper finds no file, and ends
//
// If both are killed at once the guest stays throttled until the next godwit command (undo_left_throttles()). What is
// done by ptrace needs no keeper: the kernel lets go of it with the engine.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

class ThrottleKeeper {
 public:
  /// Forks. To be called before this process has threads, locks, or descriptors that must not be held.
  static Result<std::unique_ptr<ThrottleKeeper>> start();
  /// Sends it away, and waits until it has gone.
  ~ThrottleKeeper();
  ThrottleKeeper(const ThrottleKeeper&) = delete;
  ThrottleKeeper& operator=(const ThrottleKeeper&) = delete;

  /// From here on our death is taken care of: what this file then says is undone. An error if it has gone.
  Status watch(const std::string& undo_file);

  pid_t pid() const noexcept { return pid_; }

 private:
  ThrottleKeeper(pid_t pid, UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}
  pid_t pid_;
  UniqueFd socket_;
};

}  // namespace godwit
