// Places pages in the memory of a guest that is paused: whoever has half of a page there does no harm.
#pragma once

#include "engine/filled_pages.h"
#include "engine/page_placer.h"
#include "memory/guest_memory.h"
#include "memory/kernels.h"

namespace godwit {

/// The room is guest RAM, where it is mapped and the pages are there already.
class InPlacePlacer final : public PagePlacer {
 public:
  /// All outlive it.
  InPlacePlacer(GuestMemory& memory, FilledPages& filled, const Kernels& kernels)
      : memory_(memory), filled_(filled), kernels_(kernels) {}

  const RamLayout& layout() const noexcept override { return memory_.layout(); }
  PageWord received(ChunkIndex chunk) const noexcept override { return filled_.received(chunk); }
  Status read(ChunkIndex chunk, unsigned page, MutableBytes out) const override;
  PageRoom room_for(ChunkIndex chunk, PageWord pages, MutableBytes own) override;
  Status placed(ChunkIndex chunk, const PageRoom& room) override;
  Status place(ChunkIndex chunk, PageWord pages, Bytes in) override;
  Status change(ChunkIndex chunk, unsigned page, SubBlockMask mask, bool xored, const std::byte* in) override;
  Status discard(ChunkIndex chunk, PageWord pages) override;

 private:
  bool are_there(ChunkIndex chunk, PageWord pages) const noexcept { return (pages & ~filled_.present(chunk)) == 0; }

  GuestMemory& memory_;
  FilledPages& filled_;
  const Kernels& kernels_;
};

}  // namespace godwit
