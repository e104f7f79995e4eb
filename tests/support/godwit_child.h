// A process that a test starts: its output in files, its end awaited with a limit, and never left behind.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace godwit::testing {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct ChildOptions {
  std::vector<std::string> command;
  std::map<std::string, std::string> environment;  ///< on top of this process's own
  std::filesystem::path output;                    ///< stdout goes here
  std::filesystem::path errors;                    ///< stderr goes here; may be the same file
  std::optional<uid_t> user;                       ///< run as this user and group, without any other group
  int network_namespace = -1;                      ///< a descriptor of it; -1: this process's own
};

/// How a process ended.
struct Ended {
  int code = -1;   ///< exit code; -1 if a signal ended it
  int signal = 0;  ///< that ended it; 0 if it exited
};

/// Killed by its pid when this goes, and by the kernel if the test program dies (PR_SET_PDEATHSIG: so start children
/// from a thread that runs as long as they do).
class ChildProcess {
 public:
  static Result<std::unique_ptr<ChildProcess>> start(const ChildOptions& options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const noexcept { return pid_; }
  /// Whether it has not ended yet.
  bool alive();
  /// Its end; kTimedOut if it goes on.
  Result<Ended> wait(milliseconds limit);
  /// Waits until it is stopped (SIGSTOP); kPeerLost if it ended instead.
  Status wait_until_stopped(milliseconds limit);
  Status send_signal(int signal);
  /// SIGKILL, and waits for the end.
  void kill() noexcept;

  std::string output() const;
  std::string errors() const;
  /// The first line of stderr that contains `text`; kPeerLost if the process ended without it.
  Result<std::string> wait_for_error_line(const std::string& text, milliseconds limit);

 private:
  ChildProcess(pid_t pid, const ChildOptions& options) : pid_(pid), options_(options) {}
  void reap(bool block) noexcept;
  pid_t pid_;
  ChildOptions options_;
  std::optional<Ended> ended_;
};

/// Runs a program to its end and gives what it wrote (both streams); an error if it does not exit with 0.
Result<std::string> run_program(const std::vector<std::string>& command, milliseconds limit = seconds(20));

/// Calls `ready` every few milliseconds until it gives true; false after `limit`.
template <typename Ready>
bool wait_until(Ready&& ready, milliseconds limit);

std::string read_text(const std::filesystem::path& path);

void nap(milliseconds duration);

template <typename Ready>
bool wait_until(Ready&& ready, milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (ready()) return true;
    if (std::chrono::steady_clock::now() >= end) return false;
    nap(milliseconds(5));
  }
}

}  // namespace godwit::testing
