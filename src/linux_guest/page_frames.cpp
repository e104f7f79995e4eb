#include "linux_guest/page_frames.h"

#include <algorithm>

namespace godwit::linux_guest {

PageFrames::PageFrames(const RamLayout& layout, const std::vector<PhysicalRange>& ranges) {
  for (const auto& range : ranges) {
    if (range.block >= layout.blocks().size() || range.address + range.length < range.address) continue;
    const RamBlock& block = layout.blocks()[range.block];
    if (range.offset > block.size || range.length > block.size - range.offset) continue;
    if (range.address % kPageSize != range.offset % kPageSize) continue;
    const std::uint64_t cut = (kPageSize - range.address % kPageSize) % kPageSize;
    if (range.length < cut + kPageSize) continue;
    by_frame_.push_back({(range.address + cut) / kPageSize,
                         block.first_chunk.value * std::uint64_t{kPagesPerChunk} + (range.offset + cut) / kPageSize,
                         (range.length - cut) / kPageSize});
  }
  std::ranges::sort(by_frame_, {}, &Run::frame);
  by_page_ = by_frame_;
  std::ranges::sort(by_page_, {}, &Run::page);
}

PageFrames::Runs::const_iterator PageFrames::first_after(std::uint64_t frame) const noexcept {
  return std::ranges::upper_bound(by_frame_, frame, {}, [](const Run& run) { return run.frame + run.count; });
}

std::optional<PageFrames::Run> PageFrames::run_of_frame(std::uint64_t frame) const noexcept {
  const auto run = first_after(frame);
  if (run == by_frame_.end() || run->frame > frame) return std::nullopt;
  return *run;
}

std::optional<PageFrames::Run> PageFrames::run_of_page(std::uint64_t page) const noexcept {
  const auto run = std::ranges::upper_bound(by_page_, page, {}, [](const Run& r) { return r.page + r.count; });
  if (run == by_page_.end() || run->page > page) return std::nullopt;
  return *run;
}

std::uint64_t PageFrames::end() const noexcept {
  return by_frame_.empty() ? 0 : by_frame_.back().frame + by_frame_.back().count;
}

}  // namespace godwit::linux_guest
