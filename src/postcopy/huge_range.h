// Missing pages of a RAM block in huge pages of hugetlbfs: what comes is put into the file, past the hypervisor, and a
// huge page appears there when all of it has come.
//
//   registered (MINOR) --> unmapped in the hypervisor, its bytes stay in the file
//   fault --> pieces of 4 KiB come --> written into the file --> the last of them: UFFDIO_CONTINUE
//
// KERNEL: MINOR for hugetlbfs Linux 5.13, MADV_DONTNEED there 5.18.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "attach/remote_process.h"
#include "base/bytes.h"
#include "postcopy/missing_range.h"

namespace godwit {

/// Any thread, except for take_away() and adopt(), before which nothing may be put in place.
class HugeRange {
 public:
  /// `range` outlives it; `userfault`, too, in which it is registered by somebody else. kUnsupported where it is not a
  /// shared file.
  static Result<std::unique_ptr<HugeRange>> open(const MissingRange& range, int userfault);
  ~HugeRange();
  HugeRange(const HugeRange&) = delete;
  HugeRange& operator=(const HugeRange&) = delete;

  /// `missing`: a word for each chunk of the range, more than before. kIo where there is no room for that.
  Status take_away(const RemoteProcess& process, std::span<const PageWord> missing);
  /// The same for what has been taken away before.
  void adopt(std::span<const PageWord> missing);
  /// Missing pages of a chunk of the range, one after the other in `in`.
  Status put(std::uint32_t chunk, PageWord pages, Bytes in);
  /// Those of them that are missing; if none are missing of the huge page any more, whoever waits for it goes on.
  Status put_zeros(std::uint32_t chunk, PageWord pages);

  std::uint32_t chunks_per_page() const noexcept { return static_cast<std::uint32_t>(range_.page_size / kChunkSize); }

 private:
  HugeRange(const MissingRange& range, int userfault, std::byte* at);
  struct MissingMore {
    std::vector<std::uint64_t> fresh;   ///< of which nothing was missing before
    std::vector<std::uint64_t> waited;  ///< of which something was: somebody may wait for it
  };
  MissingMore note_missing(std::span<const PageWord> missing);
  Status have_come(std::uint32_t chunk, PageWord pages);
  Status show(std::uint64_t huge);
  Status wake(std::uint64_t huge);
  std::byte* byte_of(std::uint32_t chunk, unsigned page) const noexcept {
    return at_ + std::uint64_t{chunk} * kChunkSize + page * kPageSize;
  }

  const MissingRange& range_;
  const int userfault_;
  std::byte* const at_;                                 ///< the file, in this process
  std::unique_ptr<std::atomic<PageWord>[]> missing_;    ///< by chunk
  std::unique_ptr<std::atomic<std::uint32_t>[]> left_;  ///< missing pages, by huge page
};

}  // namespace godwit
