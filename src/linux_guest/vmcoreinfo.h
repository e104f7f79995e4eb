// What a Linux kernel says about its own memory books: the VMCOREINFO note that it keeps for crash dumps.
//
//   OSRELEASE=6.1.0            SYMBOL(mem_section)=ffff8dd63ffd9000
//   SIZE(page)=64              NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129        ...
//
// Only the text is looked at here, and every number in it is held against a limit: a guest can write what it likes.
// Whether the note belongs to the kernel that runs is for others to find out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit::linux_guest {

/// The kernel gives its note one page.
inline constexpr std::size_t kMaxNoteText = 4096;

struct Vmcoreinfo {
  std::string release;  ///< "6.1.0-18-cloud-amd64"

  // Addresses are the kernel's virtual ones unless they say otherwise; offsets and sizes are bytes.
  std::uint64_t uts_name = 0;  ///< of struct new_utsname: sysname, nodename, release, 65 bytes each

  struct PageTable {
    std::uint64_t symbol = 0;
    std::uint64_t root = 0;  ///< the symbol's physical address
    unsigned levels = 4;
    std::uint64_t encryption_mask = 0;  ///< a bit of page-table entries that is not part of an address
  } page_table;

  struct Sections {
    std::uint64_t roots = 0;  ///< address of an array of pointers
    std::uint64_t root_count = 0;
    std::uint64_t entry_size = 0;
    std::uint64_t mem_map = 0;  ///< offset in an entry
    unsigned bits = 0;          ///< a section is 1 << bits bytes
    std::uint64_t pages() const noexcept { return std::uint64_t{1} << (bits - 12); }
    std::uint64_t entries_per_root() const noexcept { return 4096 / entry_size; }
  } sections;

  struct StructPage {
    std::uint64_t size = 0;  ///< divides 4096
    std::uint64_t refcount = 0;
    std::uint64_t mapcount = 0;
    std::uint64_t order = 0;          ///< of a free block: page.private
    std::uint32_t free_mapcount = 0;  ///< what mapcount holds in the first page of a free block
    unsigned orders = 0;              ///< a free block has 1 << order pages, order below this
  } page;

  struct Zones {
    std::uint64_t nodes = 0;       ///< address of an array of pointers to nodes, or of the only node
    std::uint64_t node_count = 0;  ///< 0: `nodes` is the only node itself
    std::uint64_t zones = 0;       ///< offset in a node
    std::uint64_t zone_count = 0;  ///< offset in a node, of 32 bits
    std::uint64_t zone_size = 0;
    std::uint64_t areas = 0;  ///< offset in a zone, one area per order
    std::uint64_t area_size = 0;
    std::uint64_t free_blocks = 0;  ///< offset in an area
  } zones;
};

/// The text of a note up to its first NUL. kUnsupported names what is missing or out of bounds.
Result<Vmcoreinfo> parse_vmcoreinfo(std::string_view text);

}  // namespace godwit::linux_guest
