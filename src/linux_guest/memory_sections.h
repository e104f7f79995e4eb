// Where a Linux guest keeps its struct pages: the table of its memory's sections (SPARSEMEM).
//
//   mem_section --> roots: pointer, pointer, 0, ...  --> 4096 bytes of entries, one per section of 128 MiB
//                                                          section_mem_map: an address, and flags in its low bits
#pragma once

#include <cstdint>
#include <vector>

#include "linux_guest/guest_page_table.h"
#include "linux_guest/vmcoreinfo.h"

namespace godwit::linux_guest {

struct MemorySections {
  /// By section: what the struct pages' addresses are counted from, 0 for a section that has none or is not online.
  /// The struct page of a frame lies at mem_maps[frame / pages of a section] + frame * size.
  std::vector<std::uint64_t> mem_maps;
};

/// Looks at sections that begin below `end_frame` only, so what a guest says cannot make this long. kUnsupported if
/// the table cannot be read.
Result<MemorySections> read_sections(const Vmcoreinfo::Sections& info, GuestPageTable& table, std::uint64_t end_frame);

}  // namespace godwit::linux_guest
