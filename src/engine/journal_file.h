// The files of the journals: their names, their locks, and which of them speak of nothing any more.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

/// Names a VM's process for as long as the host is up: a pid alone is given out again.
struct VmProcess {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
};

/// GODWIT_STATE_DIR, else /run/godwit for root, else $XDG_RUNTIME_DIR/godwit, else /tmp/godwit-UID.
std::string default_state_folder();

/// PID-STARTTIME-BOOT.journal. The boot is part of the name: after the next one, another process may have the same pid
/// and start time. kIo where the kernel does not tell its boot.
Result<std::string> journal_path(const std::string& folder, const VmProcess& vm);

/// Beside that journal: what a guest lacks (engine/missing_record.h).
std::string missing_record_path(std::string_view journal_path);

/// Opens the file, or makes it, and locks it. kRefused if another engine that is alive holds it.
Result<UniqueFd> open_and_lock(const std::string& path);
/// As above, but makes nothing: an empty UniqueFd where there is no file.
Result<UniqueFd> lock_if_there(const std::string& path);

/// Removes journals whose process is certainly gone and that nobody holds. What cannot be told stays.
void remove_stale_journals(const std::string& folder);

}  // namespace godwit
