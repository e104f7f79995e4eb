// Guest-physical page frames and the pages of guest RAM: which is which.
//
//   frame = guest-physical address / 4096        page = chunk * 64 + page of the chunk
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "memory/guest_physical.h"
#include "memory/ram_layout.h"

namespace godwit::linux_guest {

class PageFrames {
 public:
  /// Whole pages only; ranges that do not lie in their block are left out.
  PageFrames(const RamLayout& layout, const std::vector<PhysicalRange>& ranges);

  /// Frames and pages that follow each other.
  struct Run {
    std::uint64_t frame = 0;
    std::uint64_t page = 0;
    std::uint64_t count = 0;
  };
  /// The run that holds this frame, from its beginning.
  std::optional<Run> run_of_frame(std::uint64_t frame) const noexcept;
  /// The run that holds this page, from its beginning.
  std::optional<Run> run_of_page(std::uint64_t page) const noexcept;
  /// One beyond the last frame that is RAM.
  std::uint64_t end() const noexcept;

  /// Calls visit(first page, count) for the RAM in frames [frame, frame + count).
  template <typename Visit>
  void for_each_page_run(std::uint64_t frame, std::uint64_t count, Visit&& visit) const {
    const std::uint64_t frames_end = frame + count;
    for (auto run = first_after(frame); run != by_frame_.end() && run->frame < frames_end; ++run) {
      const std::uint64_t from = frame > run->frame ? frame : run->frame;
      const std::uint64_t run_end = run->frame + run->count;
      visit(run->page + (from - run->frame), (run_end < frames_end ? run_end : frames_end) - from);
    }
  }

 private:
  using Runs = std::vector<Run>;
  /// The first run that ends after `frame`.
  Runs::const_iterator first_after(std::uint64_t frame) const noexcept;
  Runs by_frame_;
  Runs by_page_;
};

}  // namespace godwit::linux_guest
