// How many files and connections this process may have open.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace godwit {

/// What a receiver of so many VMs side by side may need, with all strangers that it bears.
std::uint64_t descriptors_for(unsigned vms_at_once) noexcept;

/// As many as the hard limit lets it (RLIMIT_NOFILE). kInvalidArgument, with both numbers, if that is less than
/// `needed`.
Status allow_descriptors(std::uint64_t needed);

}  // namespace godwit
