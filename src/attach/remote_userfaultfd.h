// A userfaultfd that belongs to another process's address space, held by this one.
//
//   the process calls userfaultfd(2)                                      the usual way
//   we lend it our /dev/userfaultfd, it calls ioctl(USERFAULTFD_IOC_NEW)    where a seccomp filter denies the first
#pragma once

#include "attach/remote_process.h"

namespace godwit {

struct RemoteUserfaultfd {
  UniqueFd fd;                  ///< ours; closing it undoes every registration
  bool user_mode_only = false;  ///< the kernel allowed only that: enough for dirty tracking
  int remote = -1;              ///< its number in the process, where that was kept open
};

/// What becomes of the descriptor in the process itself.
enum class Original {
  kClosed,  ///< an engine that dies leaves nothing behind
  kKept,    ///< its registrations outlive the engine
};

/// Brings a descriptor of ours into the process without a system call made in it, as QEMU's monitor can.
class DescriptorLender {
 public:
  virtual ~DescriptorLender() = default;
  /// Its number in the process. One at a time.
  virtual Result<int> lend(int fd) = 0;
  virtual void take_back() noexcept = 0;
};

/// Makes a userfaultfd inside the process, takes the descriptor, and closes the original there at once, unless that is
/// to be kept. UFFDIO_API has not been done yet. `lender` may be null. kUnsupported, with the
/// reason, if what confines the process forbids it; then nothing that could harm the process has been called.
Result<RemoteUserfaultfd> create_remote_userfaultfd(const RemoteProcess& process, DescriptorLender* lender = nullptr,
                                                    Original original = Original::kClosed);

/// That of an Original::kKept, once more, by its number in the process. kNotFound if there is none by that number.
Result<RemoteUserfaultfd> take_remote_userfaultfd(const RemoteProcess& process, int number);

/// Whether create_remote_userfaultfd() would be let, by the seccomp filters that the process runs under. Makes no call.
Status check_remote_userfaultfd(const RemoteProcess& process, bool can_lend);

}  // namespace godwit
