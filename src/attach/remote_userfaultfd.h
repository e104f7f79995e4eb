// A userfaultfd that belongs to another process's address space, held by this one.
#pragma once

#include "attach/remote_process.h"

namespace godwit {

struct RemoteUserfaultfd {
  UniqueFd fd;                  ///< ours; closing it undoes every registration
  bool user_mode_only = false;  ///< the kernel allowed only that: enough for dirty tracking
};

/// Calls userfaultfd(2) inside the process, takes the descriptor, and closes the original there at once: so an engine
/// that dies leaves nothing behind. UFFDIO_API has not been done yet.
Result<RemoteUserfaultfd> create_remote_userfaultfd(const RemoteProcess& process);

}  // namespace godwit
