// Looks for pages that are there, in stretches that are not armed.
#pragma once

#include <functional>

#include "tracking/armed_stretches.h"
#include "tracking/page_scanner.h"
#include "tracking/tracked_range.h"

namespace godwit {

/// Tells where the stretch of a range holds data, as offsets in the range, ascending. Never too little: what had been
/// written before the call is told, unless it was given back since. Everything where nothing tells (kUnknown).
Status look_for_data(PageScanner& scanner, const TrackedRange& range, const Stretch& stretch,
                     const std::function<void(const Stretch&)>& found);

}  // namespace godwit
