#include "engine/delta_memory.h"

#include <algorithm>

#include "base/units.h"

namespace godwit {

namespace {

// Hashes take a 32nd of the RAM that they speak of. This is enough for all of a small guest, and for what is written
// again and again in a large one.
constexpr std::uint64_t kForASmallGuest = 48 * kMiB;
constexpr std::uint64_t kRamPerByte = 128;
constexpr std::uint64_t kMost = 4 * kGiB;
// What a lane takes besides: encoders of several codecs, and buffers.
constexpr std::uint64_t kCodecsOfALane = 4 * kMiB;
constexpr unsigned kLanesThatCount = 8;

}  // namespace

std::uint64_t default_delta_memory(std::uint64_t ram_bytes, unsigned lanes) noexcept {
  const std::uint64_t for_lanes = std::min(lanes, kLanesThatCount) * kCodecsOfALane;
  return std::min(kForASmallGuest - for_lanes + ram_bytes / kRamPerByte, kMost);
}

}  // namespace godwit
