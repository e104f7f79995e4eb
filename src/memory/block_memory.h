// Guest RAM block by block: how the bytes of one RAM block are reached, and all blocks joined into a GuestMemory.
//
//   GuestMemory (join_blocks) --+-- file block      tmpfs, memfd, hugetlbfs, a disk file: pread, and a shared mapping
//                               +-- process block   private memory of a running QEMU: process_vm_readv and _writev
//
// Finding out which block is which, and opening the descriptors, is left to the hypervisor's folder.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "memory/guest_memory.h"
#include "memory/paying_process.h"

namespace godwit {

/// The bytes of one RAM block. Called by the joined memory only, which has checked the arguments: `offset` is the start
/// of a chunk counted from the block's start, all pages named lie inside the block, and spans have the length they
/// need. Each method keeps the promise of the GuestMemory method of its name, and is called from any thread at once.
class BlockAccess {
 public:
  virtual ~BlockAccess() = default;
  virtual std::uint64_t size() const noexcept = 0;
  virtual Status read(std::uint64_t offset, PageWord pages, MutableBytes out) const = 0;
  virtual std::optional<Bytes> view(std::uint64_t, PageWord) const { return std::nullopt; }
  virtual Status write(std::uint64_t offset, PageWord pages, Bytes in) = 0;
  virtual Status fill(std::uint64_t offset, PageWord pages, Bytes in) = 0;
  virtual std::optional<MutableBytes> map(std::uint64_t offset, std::size_t length) noexcept = 0;
  virtual Status discard(std::uint64_t offset, PageWord pages) = 0;
  virtual Status populate(std::uint64_t offset, PageWord pages) = 0;
  /// `out` comes in all 0 and covers chunks from `offset` on, the last of them perhaps cut by the block's end.
  virtual Status find_data(std::uint64_t offset, std::span<PageWord> out) const = 0;
  virtual Status keep_holes(std::uint64_t offset, std::span<PageWord> pages) const = 0;
  virtual Status keep_where_holes_may_be(std::uint64_t offset, std::span<PageWord> pages) const = 0;
};

/// RAM that lies in a file from `file_offset` on, in backing pages of `page_size` bytes (4096, or a huge page's size).
/// A file that is allocated as a whole by now is taken for preallocated. A descriptor opened for reading only gives a
/// block that cannot be written or mapped. Maps nothing until it is written. kInvalidArgument: the file is shorter, or
/// the offset is not a multiple of the page size.
/// `payer`, where there is one, pays for the pages that come to be: the process stays the one it is (a pidfd).
Result<std::unique_ptr<BlockAccess>> open_file_block(UniqueFd fd, std::uint64_t file_offset, std::uint64_t size,
                                                     std::uint64_t page_size,
                                                     std::optional<PayingProcess> payer = std::nullopt);

/// Private RAM of another process at `address` there; `pagemap` is its /proc/PID/pagemap. The caller sees to it that
/// the process stays the one it is (a pidfd). kNotFound: nothing is mapped there; kPeerLost here and later: the process
/// is gone.
Result<std::unique_ptr<BlockAccess>> open_process_block(pid_t pid, std::uint64_t address, std::uint64_t size,
                                                        UniqueFd pagemap);

/// All blocks as one memory: blocks[i] holds layout.blocks()[i]. nullptr if their numbers or sizes differ, which is the
/// caller's own mistake. Arguments of every call are checked here: kInvalidArgument for pages that do not exist.
std::unique_ptr<GuestMemory> join_blocks(RamLayout layout, std::vector<std::unique_ptr<BlockAccess>> blocks);

}  // namespace godwit
