#include "base/wake.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace godwit {

Wake::Wake() noexcept : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Wake::wake() noexcept {
  const int before = errno;
  const std::uint64_t one = 1;
  // It fails to take a 1 only when it is full: then it is readable already.
  [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
  errno = before;
}

void Wake::drain() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto drained = ::read(fd_.get(), &count, sizeof count);
}

}  // namespace godwit
