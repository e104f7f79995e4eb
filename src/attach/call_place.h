// Where in a process a system call can be made: its code for it, and its first stack. Kept from one call to the next,
// because looking takes five times as long as the call.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

#include "attach/remote_memory.h"

namespace godwit {

struct CallPlace {
  CallCode code;
  std::uint64_t stack_begin = 0;  ///< of "[stack]", which grows downwards: there may be more of it by now
  std::uint64_t stack_end = 0;
};

class KeptCallPlace {
 public:
  std::optional<CallPlace> get() const {
    const std::lock_guard lock(mutex_);
    return place_;
  }
  void keep(const CallPlace& place) {
    const std::lock_guard lock(mutex_);
    place_ = place;
  }

 private:
  mutable std::mutex mutex_;
  std::optional<CallPlace> place_;
};

}  // namespace godwit
