#include "base/random.h"

#include <sys/random.h>

#include <cerrno>

namespace godwit {

Status fill_with_random(MutableBytes out) {
  // KERNEL: getrandom gives up to 256 bytes whole; of more, a signal may leave a rest.
  while (!out.empty()) {
    const ssize_t filled = ::getrandom(out.data(), out.size(), 0);
    if (filled < 0) {
      if (errno == EINTR) continue;
      return fail_os("getrandom");
    }
    out = out.subspan(static_cast<std::size_t>(filled));
  }
  return {};
}

}  // namespace godwit
