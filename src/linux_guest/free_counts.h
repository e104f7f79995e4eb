// How many pages the guest's kernel itself counts as free: its zones' books, to hold the walk against.
#pragma once

#include <cstdint>
#include <optional>

#include "linux_guest/guest_page_table.h"
#include "linux_guest/vmcoreinfo.h"

namespace godwit::linux_guest {

/// Pages in all free lists of all zones of all nodes; nothing if the books cannot be read or hold nonsense.
std::optional<std::uint64_t> count_free(const Vmcoreinfo& info, GuestPageTable& table);

}  // namespace godwit::linux_guest
