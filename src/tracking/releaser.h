// A small process that outlives the engine, so that its death does not stop a large guest.
//
//   engine --fork, at its very beginning--> releaser: holds nothing but one end of a socket
//          --userfaultfd and what it covers-->  holds those too
//   engine dies: the socket ends             releaser lets go piece by piece, and ends
//   engine has let go by itself, and ends    releaser ends
//
// When the last descriptor of a userfaultfd closes, the kernel undoes all of it in one go, 30 to 60 ms per GiB, under
// the lock that the guest's page faults wait for. Piece by piece they get their turn in between.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

/// Of the address space that a userfaultfd belongs to.
struct ProtectedStretch {
  std::uint64_t address = 0;
  std::uint64_t length = 0;  ///< bytes
};

/// Takes the registrations away piece by piece, with pauses. What cannot be taken away so is left to closing.
void release_piece_by_piece(int userfaultfd, std::span<const ProtectedStretch> stretches) noexcept;

/// Whether a dead engine's process is letting go just now, of whatever guest.
bool somebody_releases();

class Releaser {
 public:
  /// Forks. To be called before this process has threads, locks, or descriptors that must not be held.
  static Result<std::unique_ptr<Releaser>> start();
  /// Sends it away, and waits until it has gone.
  ~Releaser();
  Releaser(const Releaser&) = delete;
  Releaser& operator=(const Releaser&) = delete;

  /// From here on our death is taken care of. One userfaultfd at a time.
  Status hold(int userfaultfd, std::span<const ProtectedStretch> stretches);
  /// We have let go: it closes its descriptor too.
  void forget() noexcept;

  pid_t pid() const noexcept { return pid_; }

 private:
  Releaser(pid_t pid, UniqueFd socket) : pid_(pid), socket_(std::move(socket)) {}
  pid_t pid_;
  UniqueFd socket_;
};

}  // namespace godwit
