#include "engine/in_place_placer.h"

#include <array>

namespace godwit {

Status InPlacePlacer::read(ChunkIndex chunk, unsigned page, MutableBytes out) const {
  return memory_.read(chunk, PageWord{1} << page, out);
}

PageRoom InPlacePlacer::room_for(ChunkIndex chunk, PageWord pages, MutableBytes own) {
  if (auto mapped = memory_.map(chunk); mapped && are_there(chunk, pages)) {
    return {.pages = pages, .bytes = *mapped, .in_place = true};
  }
  return {.pages = pages, .bytes = own.first(page_count(pages) * kPageSize)};
}

Status InPlacePlacer::placed(ChunkIndex chunk, const PageRoom& room) {
  if (!room.in_place) return place(chunk, room.pages, room.bytes);
  filled_.drop_stale(chunk, room.pages);
  filled_.set_filled(chunk, filled_.filled(chunk) | room.pages);
  filled_.add_received(chunk, room.pages);
  return {};
}

/// Memory that runs out shows here as an error, not as a SIGBUS in the middle of a copy.
Status InPlacePlacer::place(ChunkIndex chunk, PageWord pages, Bytes in) {
  filled_.drop_stale(chunk, pages);
  filled_.set_filled(chunk, filled_.filled(chunk) | pages);
  if (are_there(chunk, pages)) {
    TRY(memory_.write(chunk, pages, in));
  } else {
    TRY_IN("the destination has no memory for the guest", memory_.fill(chunk, pages, in));
    filled_.add_present(chunk, pages);
  }
  filled_.add_received(chunk, pages);
  return {};
}

Status InPlacePlacer::change(ChunkIndex chunk, unsigned page, SubBlockMask mask, bool xored, const std::byte* in) {
  const auto apply = xored ? kernels_.scatter_xor : kernels_.scatter;
  const PageWord bit = PageWord{1} << page;
  if (auto mapped = memory_.map(chunk); mapped && are_there(chunk, bit)) {
    apply(in, mask, mapped->data() + page * kPageSize);
    return {};
  }
  alignas(64) std::array<std::byte, kPageSize> whole;
  TRY(memory_.read(chunk, bit, whole));
  apply(in, mask, whole.data());
  return place(chunk, bit, whole);
}

/// A hole that was never filled stays one.
Status InPlacePlacer::discard(ChunkIndex chunk, PageWord pages) {
  const PageWord filled = filled_.filled(chunk);
  filled_.drop_stale(chunk, pages);
  filled_.drop_received(chunk, pages);
  filled_.set_filled(chunk, filled & ~pages);
  const PageWord emptied = pages & filled;
  if (emptied == 0) return {};
  filled_.drop_present(chunk, emptied);
  return memory_.discard(chunk, emptied);
}

}  // namespace godwit
