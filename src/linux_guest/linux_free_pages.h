// The free pages of a Linux guest on x86-64, read from outside: the guest does nothing for it and notices nothing.
//
//   locate       guest RAM --search--> VMCOREINFO note --checked against memory and the vCPUs' page tables--> the books
//   find         the books --> struct pages --> free blocks, held against the zones' own counts --> pages
//   keep_needed  pages --> those that a guest which clears or poisons its free pages wants to find as it left them
//   keep_free    pages --> the struct pages that cover them --> those that are free still
//
// A guest's user can plant a note, and a guest can write anything into its books. Whatever does not fit is no
// information; and a guest that lies well can make Godwit lose nothing but this guest's own pages.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "memory/guest_physical.h"
#include "tracking/free_pages.h"

namespace godwit {

/// What the vCPUs' CR3 hold now; those that have paging off are left out. Called by locate() and find().
using PageTableRoots = std::function<Result<std::vector<std::uint64_t>>()>;

/// `memory` outlives it.
///
/// find() looks at the vCPUs last: what it gives was free in the books of the kernel that ran then. keep_free() does
/// not ask them: a guest that was reset since has written what it uses since, and dirty tracking knows of that.
std::unique_ptr<FreePages> make_linux_free_pages(GuestMemory& memory, std::vector<PhysicalRange> ranges,
                                                 PageTableRoots page_table_roots);

}  // namespace godwit
