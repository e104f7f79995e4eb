// Wakes a thread that waits in poll(2).
//
//   one thread: poll { its sockets, wake.descriptor() }      any other: wake()
#pragma once

#include "base/unique_fd.h"

namespace godwit {

class Wake {
 public:
  /// Without a descriptor, and then false, if there is none left (errno says so): it wakes nobody.
  Wake() noexcept;
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }

  /// Makes descriptor() readable; it stays so until drain(). Any thread, also in a signal handler.
  void wake() noexcept;
  void drain() noexcept;

  int descriptor() const noexcept { return fd_.get(); }

 private:
  UniqueFd fd_;
};

}  // namespace godwit
