#include "base/random.h"

#include <sys/random.h>

#include <cerrno>

namespace godwit {

Status fill_with_random(MutableBytes out) {
  // KERNEL: getrandom gives up to 256 bytes whole once the pool is ready; only before that a signal may end it early.
  while (::getrandom(out.data(), out.size(), 0) != static_cast<ssize_t>(out.size())) {
    if (errno != EINTR) return fail_os("getrandom");
  }
  return {};
}

}  // namespace godwit
