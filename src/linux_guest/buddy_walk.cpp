#include "linux_guest/buddy_walk.h"

#include <vector>

namespace godwit::linux_guest {
namespace {

/// Finds the free block that covers a frame. Frames are asked for in order, so of each order the head looked at last
/// is remembered: no more than two struct pages are read per frame, whatever the guest did.
class Cover {
 public:
  Cover(unsigned orders, StructPages& struct_pages) : struct_pages_(struct_pages), heads_(orders) {}

  bool covers(std::uint64_t frame) {
    if (frame - block_.frame < block_.count) return true;
    // Since it was found free its block may have been split, or joined with its neighbours: any order will do.
    for (unsigned order = 0; order < heads_.size(); ++order) {
      // The same head as one order below: looked at already.
      if (order > 0 && (frame >> (order - 1) & 1) == 0) continue;
      const Block& head = block_at(order, frame >> order << order);
      if (frame - head.frame < head.count) {
        block_ = head;
        return true;
      }
    }
    return false;
  }

 private:
  struct Block {
    std::uint64_t frame = ~std::uint64_t{0};
    std::uint64_t count = 0;  ///< pages; 0: no free block begins here
  };
  const Block& block_at(unsigned order, std::uint64_t frame) {
    Block& head = heads_[order];
    if (head.frame != frame) {
      const auto found = struct_pages_.free_order(frame);
      head = {frame, found ? std::uint64_t{1} << *found : 0};
    }
    return head;
  }

  StructPages& struct_pages_;
  std::vector<Block> heads_;  ///< by order
  Block block_;               ///< the last one that covered a frame
};

}  // namespace

std::uint64_t mark_free(const Vmcoreinfo& info, const MemorySections& sections, const PageFrames& frames,
                        StructPages& struct_pages, std::span<PageWord> out) {
  std::uint64_t total = 0;
  const std::uint64_t pages_per_section = info.sections.pages();
  for (std::uint64_t section = 0; section < sections.mem_maps.size(); ++section) {
    if (sections.mem_maps[section] == 0) continue;
    const std::uint64_t end = (section + 1) * pages_per_section;
    for (std::uint64_t frame = section * pages_per_section; frame < end;) {
      const auto order = struct_pages.free_order(frame);
      if (!order) {
        ++frame;
        continue;
      }
      const std::uint64_t count = std::uint64_t{1} << *order;
      frames.for_each_page_run(frame, count,
                               [&](std::uint64_t page, std::uint64_t pages) { add_pages(out, page, pages); });
      total += count;
      frame += count;
    }
  }
  return total;
}

void keep_covered(const Vmcoreinfo& info, const PageFrames& frames, StructPages& struct_pages,
                  std::span<PageWord> pages) {
  Cover cover(info.page.orders, struct_pages);
  std::optional<PageFrames::Run> run;
  for (std::size_t chunk = 0; chunk < pages.size(); ++chunk) {
    PageWord kept = 0;
    for_each_page(pages[chunk], [&](unsigned in_chunk) {
      const std::uint64_t page = chunk * std::uint64_t{kPagesPerChunk} + in_chunk;
      if (!run || page - run->page >= run->count) run = frames.run_of_page(page);
      if (run && cover.covers(run->frame + (page - run->page))) kept |= PageWord{1} << in_chunk;
    });
    pages[chunk] = kept;
  }
}

}  // namespace godwit::linux_guest
