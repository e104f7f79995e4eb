// The journal: what a migration has done to a VM, kept where the next engine finds it if this one dies.
//
// One small file per VM process in a folder that lives as long as the host is up (a tmpfs: if the host goes, the VM
// goes with it). The engine holds a lock on the file while it lives, so a dead engine needs no guessing.
//
//   migrating <--> stopping --(commit is journaled, then sent)--> committed
//   migrating: the engine has not touched the guest's running: whoever stopped or moved it since, it was somebody else
//   stopping:  the engine was about to stop the guest, or had; the destination cannot run it: it may be let run on here
//   committed: the guest must never run here again
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

/// Names a VM's process for ever: a pid alone is given out again.
struct VmProcess {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
};

/// GODWIT_STATE_DIR, else /run/godwit for root, else $XDG_RUNTIME_DIR/godwit, else /tmp/godwit-UID.
std::string default_state_folder();

class Journal {
 public:
  enum class State { kNone, kMigrating, kStopping, kCommitted };

  /// Opens (or makes) the VM's journal and locks it. kRefused if an engine that lives holds it. Removes journals of
  /// processes that are gone. `found()` tells what an earlier engine left.
  static Result<Journal> open(const std::string& folder, const VmProcess& vm);
  /// Reads what an earlier engine left without making or keeping anything; kNone where there is no journal. kRefused if
  /// an engine that lives holds it.
  static Result<State> peek(const std::string& folder, const VmProcess& vm);

  State found() const noexcept { return found_; }
  const std::string& path() const noexcept { return path_; }
  Status begin() { return write(State::kMigrating); }
  /// From here on the guest may be found standing, by this engine's doing. begin() takes it back.
  Status stopping() { return write(State::kStopping); }
  /// On return the decision is on record: the guest never runs here again. To be called before Commit is sent.
  Status commit() { return write(State::kCommitted); }
  /// The source VM runs on: nothing to remember.
  void clear() noexcept;

 private:
  Journal(std::string path, UniqueFd fd, State found) : path_(std::move(path)), fd_(std::move(fd)), found_(found) {}
  Status write(State state);
  std::string path_;
  UniqueFd fd_;
  State found_ = State::kNone;
};

}  // namespace godwit
