// Which of the pages that were missing are there by now, whoever has put them in place.
#pragma once

#include <span>
#include <vector>

#include "postcopy/uffd_missing_pages.h"

namespace godwit {

/// Clears of `missing` (by chunk) all that the process has: also pages of zeros, and what is swapped out.
Status clear_those_there(const RemoteProcess& process, const std::vector<MissingRange>& ranges,
                         std::span<PageWord> missing);

}  // namespace godwit
