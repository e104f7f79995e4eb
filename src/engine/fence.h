// Fences: "all before this has been applied", one frame on every lane.
#pragma once

#include <cstdint>

namespace godwit {

/// The fence before which all lies that a device may look at: they may be loaded. What the guest has given back is
/// still looked for then, because no device uses it.
inline constexpr std::uint32_t kDevicesFence = 0xfffffffe;

/// The fence after which all of RAM is in place at the sink.
inline constexpr std::uint32_t kLastFence = 0xffffffff;

}  // namespace godwit
