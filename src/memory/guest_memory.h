// Guest RAM as the engine reaches it: through the file that backs it, or through another process's address space.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/ram_layout.h"

namespace godwit {

/// RAM of one VM. Every method may be called from any lane's thread at once, for different chunks.
/// Bytes of a running guest change while they are read: what needs stable input works on the copy that read() makes.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;

  virtual const RamLayout& layout() const noexcept = 0;

  /// Copies the pages named, one after the other, into `out` (page_count(pages) * 4096 bytes). Never allocates
  /// memory at the source: holes read as zeros and stay holes.
  virtual Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const = 0;

  /// The pages named, which are one run, where they lie, only to be looked at; they change meanwhile, and one that is
  /// given back meanwhile may come to be again. Nothing where they cannot be reached, or where to look at one might
  /// allocate it: then use read(). Valid as long as this object.
  virtual std::optional<Bytes> view(ChunkIndex, PageWord) const { return std::nullopt; }

  /// Writes the pages named from `in`, one after the other. They must be there: see fill().
  virtual Status write(ChunkIndex chunk, PageWord pages, Bytes in) = 0;

  /// Like write(), for pages whose memory may not be there yet. kIo with ENOMEM or ENOSPC in os_error if there is none
  /// left (a full tmpfs, no huge page). After it the pages are there, until they are discarded.
  virtual Status fill(ChunkIndex chunk, PageWord pages, Bytes in) = 0;

  /// The chunk's own bytes where they can be written in place (decoders write straight into them), else nothing:
  /// then use write(). Only pages that are there may be touched. Valid as long as this object. Length kChunkSize, or
  /// less in a block's last chunk.
  virtual std::optional<MutableBytes> map(ChunkIndex chunk) noexcept = 0;

  /// Makes the pages named read as zeros and gives their memory back where the backing allows it, unless all of the
  /// memory was there when it was opened: what was allocated beforehand stays allocated.
  virtual Status discard(ChunkIndex chunk, PageWord pages) = 0;

  /// Allocates the pages named, so that writing them in place can neither fault nor end in SIGBUS for want of memory;
  /// fails as fill() does. Private memory of another process: does nothing.
  virtual Status populate(ChunkIndex chunk, PageWord pages) = 0;

  /// Pages of the chunks [first, first + out.size()) that may hold anything but zeros, one word per chunk. Holes and
  /// never-touched pages are left out; found without touching them. May name too many pages, never too few.
  virtual Status find_data(ChunkIndex first, std::span<PageWord> out) const = 0;

  /// Of the pages named (by chunk, from `first` on) clears those that hold data, swapped out or not. Made for few
  /// questions about much memory that is mostly there, such as what the guest has given back: find_data() would walk
  /// over all of it.
  virtual Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const = 0;

  /// Of the pages named clears all those of blocks of which keep_holes() would clear every page now: without a hole, or
  /// unable to tell of one. A question a block.
  virtual Status keep_where_holes_may_be(ChunkIndex, std::span<PageWord>) const { return {}; }
};

}  // namespace godwit
