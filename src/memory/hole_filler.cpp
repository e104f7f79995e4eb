#include "memory/hole_filler.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/kernel_abi.h"

namespace godwit {

std::unique_ptr<HoleFiller> HoleFiller::open(int fd, std::uint64_t file_offset, std::uint64_t size) {
  UniqueFd userfault(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | kUserModeOnly)));
  if (!userfault) return nullptr;
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  if (::ioctl(userfault.get(), UFFDIO_API, &api) != 0) return nullptr;
  void* const address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(file_offset));
  if (address == MAP_FAILED) return nullptr;
  std::unique_ptr<HoleFiller> filler(
      new HoleFiller(std::move(userfault), static_cast<std::byte*>(address), static_cast<std::size_t>(size)));
  uffdio_register wanted{};
  wanted.range = {reinterpret_cast<std::uint64_t>(address), size};
  wanted.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(filler->userfault_.get(), UFFDIO_REGISTER, &wanted) != 0) return nullptr;
  return filler;
}

HoleFiller::~HoleFiller() {
  ::munmap(base_, length_);
}

Result<std::size_t> HoleFiller::fill(std::uint64_t offset, Bytes in) {
  std::size_t done = 0;
  while (done < in.size()) {
    uffdio_copy copy{};
    copy.dst = reinterpret_cast<std::uint64_t>(base_ + offset + done);
    copy.src = reinterpret_cast<std::uint64_t>(in.data() + done);
    copy.len = in.size() - done;
    const bool all = ::ioctl(userfault_.get(), UFFDIO_COPY, &copy) == 0;
    const int number = errno;
    if (copy.copy > 0) done += static_cast<std::size_t>(copy.copy);
    if (all || number == EEXIST) break;
    // Part of it: what comes next tells why. An interrupted one has the same number.
    if (number != EAGAIN && number != EINTR) return fail(os_error("place guest RAM", number));
  }
  return done;
}

}  // namespace godwit
