#include "memory/guest_physical.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "memory/page_list.h"

namespace godwit {
namespace {

bool lies_in_block(const PhysicalRange& range, std::span<const RamBlock> blocks) {
  return range.length > 0 && range.address + range.length > range.address && range.block < blocks.size() &&
         range.offset < blocks[range.block].size && range.length <= blocks[range.block].size - range.offset;
}

}  // namespace

GuestPhysical::GuestPhysical(const GuestMemory& memory, std::vector<PhysicalRange> ranges)
    : memory_(memory), ranges_(std::move(ranges)) {
  std::erase_if(ranges_, [&](const auto& range) { return !lies_in_block(range, memory.layout().blocks()); });
  std::ranges::sort(ranges_, {}, &PhysicalRange::address);
}

GuestPhysical::Ranges::const_iterator GuestPhysical::first_after(std::uint64_t address) const noexcept {
  return std::ranges::lower_bound(ranges_, address, {},
                                  [](const PhysicalRange& range) { return range.address + range.length - 1; });
}

Status GuestPhysical::copy(const PhysicalRange& range, std::uint64_t address, MutableBytes out) const {
  std::array<std::byte, kPageSize> page;
  while (!out.empty()) {
    const std::uint64_t offset = range.offset + (address - range.address);
    const auto in_page = static_cast<std::size_t>(offset % kPageSize);
    const std::size_t length = std::min(out.size(), kPageSize - in_page);
    const ChunkIndex chunk = memory_.layout().chunk_at(range.block, offset);
    TRY(memory_.read(chunk, PageWord{1} << (offset / kPageSize % kPagesPerChunk), page));
    std::memcpy(out.data(), page.data() + in_page, length);
    out = out.subspan(length);
    address += length;
  }
  return {};
}

Result<bool> GuestPhysical::read(std::uint64_t address, MutableBytes out) const {
  for (auto range = first_after(address); !out.empty(); ++range) {
    if (range == ranges_.end() || range->address > address) return false;
    const std::uint64_t left = range->length - (address - range->address);
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), left));
    TRY(copy(*range, address, out.first(length)));
    out = out.subspan(length);
    address += length;
  }
  return true;
}

bool GuestPhysical::touches_ram(std::uint64_t start, std::uint64_t end) const noexcept {
  const auto range = first_after(start);
  return range != ranges_.end() && range->address < end;
}

void GuestPhysical::append_pages(std::uint64_t start, std::uint64_t end, std::vector<PagesOfChunk>& pages) const {
  for (auto range = first_after(start); range != ranges_.end() && range->address < end; ++range) {
    const std::uint64_t from = std::max(start, range->address) - range->address + range->offset;
    const std::uint64_t to = std::min(end - range->address, range->length) + range->offset;
    const std::uint64_t first = from / kPageSize;
    append_run(pages, memory_.layout().blocks()[range->block].first_chunk, first, (to - 1) / kPageSize + 1 - first);
  }
}

void GuestPhysical::append_all(std::vector<PagesOfChunk>& pages) const {
  if (!ranges_.empty()) append_pages(0, ranges_.back().address + ranges_.back().length, pages);
}

}  // namespace godwit
