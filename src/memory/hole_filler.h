// Puts whole pages into a file's holes in one step.
//
//   lane's buffer (in cache) --UFFDIO_COPY--> new page of the file
//
// A write through a mapping first clears the new page and then copies into it; here the copy is all there is, 0.33 s
// per GiB and core in place of 0.51. Unlike write(2) on shared memory it takes no lock on the file, so lanes do not
// wait for each other. Sockets receive into the buffer first; that copy stays in the cache.
//
// KERNEL: UFFDIO_COPY into shared memory, for everybody (UFFD_USER_MODE_ONLY): Linux 5.11.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

class HoleFiller {
 public:
  /// Null where the kernel or the file system does not offer it (a file on a disk): not an error, there is a slower
  /// way.
  static std::unique_ptr<HoleFiller> open(int fd, std::uint64_t file_offset, std::uint64_t size);
  ~HoleFiller();
  HoleFiller(const HoleFiller&) = delete;
  HoleFiller& operator=(const HoleFiller&) = delete;

  /// Fills the holes at [offset, offset + in.size()), whole pages, with `in`, up to the first page that is not a hole,
  /// and gives the bytes filled. kIo with ENOMEM: there is no memory. Any thread.
  Result<std::size_t> fill(std::uint64_t offset, Bytes in);

 private:
  HoleFiller(UniqueFd userfault, std::byte* base, std::size_t length)
      : userfault_(std::move(userfault)), base_(base), length_(length) {}

  UniqueFd userfault_;
  // Of its own, and never touched by us: whoever reads a hole through it would wait for ever.
  std::byte* base_;
  std::size_t length_;
};

}  // namespace godwit
