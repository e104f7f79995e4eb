// Looks for pages that are there, in stretches that are not armed.
#pragma once

#include <functional>

#include "tracking/armed_stretches.h"
#include "tracking/page_scanner.h"
#include "tracking/tracked_range.h"

namespace godwit {

/// Tells where the stretch of a range holds data, as offsets in the range, ascending; of a file to the end of each
/// unit. Never too little: what had been written before the call is told, unless it was given back since. Everything
/// where nothing tells (kUnknown).
Status look_for_data(PageScanner& scanner, const TrackedRange& range, const Stretch& stretch,
                     const std::function<void(const Stretch&)>& found);

/// Whether so many bytes of data are all that the range's file has taken memory for. Else it has been allocated and not
/// written, and a look for data would walk over all of that again and again.
bool is_all_there_is(const TrackedRange& range, std::uint64_t data_bytes) noexcept;

}  // namespace godwit
