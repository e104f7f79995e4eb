// Who puts pages where, at the sink: what a lane knows of guest memory.
//
//   lane:  room_for(pages) --> bytes received or decoded into the room --> placed()      whole pages, not copied again
//          place(pages, bytes)                                                           pages that lie elsewhere
//          change(page, sub-blocks) | discard(pages) | received() | read(page)
//
// The room is guest RAM itself where pages can be written in place (in_place_placer.h). A placer for a guest that runs
// already gives the lane its own buffer back, and puts each page into place as a whole when it is placed: no CPU may
// see half of one. Time may pass between room_for() and placed(), and other chunks of the lane be placed meanwhile.
#pragma once

#include <bit>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/page.h"
#include "memory/ram_layout.h"
#include "memory/sub_blocks.h"

namespace godwit {

/// Where the bytes of some pages of a chunk go.
struct PageRoom {
  PageWord pages = 0;
  MutableBytes bytes;     ///< the pages, one after the other, or in place: the chunk's own bytes
  bool in_place = false;  ///< what is written there is what the guest has

  /// fill(piece) for each stretch of memory, in the order of the pages, until one fails.
  template <typename Fill>
  Status fill(Fill&& fill) const {
    if (!in_place) return fill(bytes);
    Status status;
    for_each_run(pages, [&](unsigned first, unsigned length) {
      if (status) status = fill(bytes.subspan(first * kPageSize, length * kPageSize));
    });
    return status;
  }
  /// The one stretch, if it is one.
  std::optional<MutableBytes> piece() const noexcept {
    if (!in_place) return bytes;
    const auto first = static_cast<unsigned>(std::countr_zero(pages));
    if (page_count(pages) != static_cast<std::size_t>(std::countr_one(pages >> first))) return std::nullopt;
    return bytes.subspan(first * kPageSize, page_count(pages) * kPageSize);
  }
};

/// Shared by all lanes, each of which calls it for the chunks that it owns only, from its own thread. Pages have been
/// checked to lie within RAM and are never none. An error is the end of the move.
class PagePlacer {
 public:
  virtual ~PagePlacer() = default;
  virtual const RamLayout& layout() const noexcept = 0;

  /// Pages whose content has come in this migration and which have not become zeros since: what others may refer to.
  virtual PageWord received(ChunkIndex chunk) const noexcept = 0;
  /// A page that has been received. `out` holds a page.
  virtual Status read(ChunkIndex chunk, unsigned page, MutableBytes out) const = 0;

  /// Room for whole pages: `own`, a buffer of the lane that they fit into, or a better place.
  virtual PageRoom room_for(ChunkIndex chunk, PageWord pages, MutableBytes own) = 0;
  /// The room has been filled.
  virtual Status placed(ChunkIndex chunk, const PageRoom& room) = 0;
  /// The same in one, for pages that lie one after the other in `in`.
  virtual Status place(ChunkIndex chunk, PageWord pages, Bytes in) = 0;
  /// The sub-blocks of `mask` of a page that has been received: set to those at `in`, or XORed with them.
  virtual Status change(ChunkIndex chunk, unsigned page, SubBlockMask mask, bool xored, const std::byte* in) = 0;
  /// The pages are all zeros now, and take no memory where that can be.
  virtual Status discard(ChunkIndex chunk, PageWord pages) = 0;
};

}  // namespace godwit
