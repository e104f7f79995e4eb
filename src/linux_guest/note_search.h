// Looks for VMCOREINFO notes in guest RAM: at page starts, in pages that hold data.
//
//   the text's own page     "OSRELEASE=6.1.0..."
//   the ELF note            11 | length | 0 | "VMCOREINFO\0\0" | "OSRELEASE=6.1.0..."      (24 bytes of head)
#pragma once

#include <functional>
#include <stop_token>
#include <string_view>

#include "memory/guest_memory.h"

namespace godwit::linux_guest {

/// Is given a note's text; says whether to stop. Some notes are nobody's: from before a reset, in a file, planted.
using VisitNote = std::function<Result<bool>(std::string_view text)>;

/// Touches no hole, and of other pages their first bytes. kCancelled if asked to stop.
Status search_notes(GuestMemory& memory, std::stop_token stop, const VisitNote& visit);

}  // namespace godwit::linux_guest
