// Fences: "all before this has been applied", one frame on every lane.
#pragma once

#include <cstdint>

namespace godwit {

/// The fence after which all of RAM is in place at the sink: devices may be loaded.
inline constexpr std::uint32_t kLastFence = 0xffffffff;

}  // namespace godwit
