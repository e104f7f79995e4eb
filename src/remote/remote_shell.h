// The remote shell as a child: ssh, or what --rsh names.
//
//   standard input, output and errors are pipes, or the first two a stream of the move; the terminal stays its own,
//   where ssh asks for passwords (/dev/tty).
//
// It is in this process's group, since a group in the background may not ask a terminal; so what the terminal sends to
// the group must not end it before this side has cancelled in order: SIGINT, SIGHUP and SIGTSTP are ignored in it.
// SIGTTIN and SIGTTOU are not, for where they are ignored ssh asks a terminal that is not its own for ever.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

/// How a child has ended; as it is, it has ended in a way that nobody knows.
struct ChildEnd {
  int code = -1;   ///< -1: not by itself
  int signal = 0;  ///< 0: by none
  bool known() const noexcept { return code >= 0 || signal != 0; }
};

class RemoteShell {
 public:
  /// From a thread that runs as long as the child does: it is told to end (SIGTERM) when that thread ends.
  static Result<RemoteShell> start(const std::vector<std::string>& words);
  /// One whose standard input and output are `stream`, a socket, and whose errors go to `errors`. From any thread: it
  /// ends by itself when the other end of the stream is closed, also by this process's death.
  static Result<RemoteShell> start_on(const UniqueFd& stream, const UniqueFd& errors,
                                      const std::vector<std::string>& words);
  RemoteShell(RemoteShell&&) = default;
  RemoteShell& operator=(RemoteShell&&) = delete;
  /// Ends it, if it has not ended.
  ~RemoteShell();

  /// The near ends of its pipes. Reads do not wait, nor do writes.
  UniqueFd& input() noexcept { return input_; }
  UniqueFd& output() noexcept { return output_; }
  UniqueFd& errors() noexcept { return errors_; }
  /// For others that are to write to the same errors: the far end of that pipe. Not for one that was started on a
  /// stream.
  Result<UniqueFd> errors_for_others() const;
  /// Readable once it has ended.
  int ended_descriptor() const noexcept { return process_.get(); }
  /// Takes its end, once it has ended; nothing before.
  std::optional<ChildEnd> take_end();
  /// SIGTERM or SIGKILL; without effect once it has ended.
  void signal(int number) noexcept;

 private:
  RemoteShell() = default;
  UniqueFd input_;
  UniqueFd output_;
  UniqueFd errors_;
  UniqueFd errors_far_;
  UniqueFd process_;  ///< a pidfd: never another process that has got the number meanwhile
  std::optional<ChildEnd> end_;
};

}  // namespace godwit
