// Fences: "all before this has been applied", one frame on every lane.
#pragma once

#include <cstdint>

namespace godwit {

/// Instead of the next one, where the guest is to run before all is there: what comes after it is put in place as a
/// whole, into memory that whoever touches it waits for. Answered when what is known to be missing has been taken away,
/// while the guest still runs at the source, and again for each later map of that time; kDevicesFence is the answer
/// when the rest has, in its pause.
inline constexpr std::uint32_t kMissingFence = 0xfffffffd;

/// The fence before which all lies that a device may look at: they may be loaded. What the guest has given back is
/// still looked for then, because no device uses it.
inline constexpr std::uint32_t kDevicesFence = 0xfffffffe;

/// The fence after which all of RAM is in place at the sink.
inline constexpr std::uint32_t kLastFence = 0xffffffff;

}  // namespace godwit
