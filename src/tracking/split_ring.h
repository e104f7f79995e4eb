// One split virtqueue: which of its requests may be in flight, read from the rings while guest and device work on.
//
//   guest:  puts heads into available[], counts available.idx      device:  takes them, works, in any order,
//   then takes them back from used[]                                        puts heads into used[], counts used.idx
//
//   in flight = available.idx - used.idx heads, but the rings do not say which: available[] is overwritten by later
//   requests while an early one is still at work.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "memory/guest_physical.h"
#include "tracking/virtqueues.h"

namespace godwit {

/// A descriptor as it lies in guest memory.
struct Descriptor {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
inline constexpr std::uint16_t kDescriptorNext = 1;      ///< `next` is valid
inline constexpr std::uint16_t kDescriptorWritable = 2;  ///< the device writes the buffer
inline constexpr std::uint16_t kDescriptorIndirect = 4;  ///< the buffer is a table of descriptors

/// What the rings held, each read at its own moment, in this order: used.idx, used[], available[], available.idx.
struct RingSnapshot {
  std::uint16_t used_index = 0;
  std::vector<std::uint32_t> used;  ///< heads, by slot
  std::vector<std::uint16_t> available;
  std::uint16_t available_index = 0;
};

/// By head: whether it may be in flight. All of them, unless it is proved that they are not.
///
/// A head's submissions and completions take turns. Let submission number a be the last in available[] that names it,
/// and completion number u the last in used[]. A submission after that completion has a number above u, because at no
/// time are there more completions than submissions. So a <= u proves that the head has not been submitted again.
/// The order of reading keeps this true while the rings move: used[] can only hold later completions than the count
/// read before it says (so the real u is larger), available[] only earlier submissions than the count read after it
/// says (so the real a is smaller). With requests completed in order, a == u.
std::vector<bool> possible_heads(const RingSnapshot& rings);

/// The heads that may be in flight; empty if none is. kHypervisor if the rings do not lie in RAM.
Result<std::vector<bool>> heads_in_flight(const GuestPhysical& memory, const Virtqueue& queue, const Clock& clock);

/// All descriptors of the queue's own table.
Result<std::vector<Descriptor>> read_descriptors(const GuestPhysical& memory, const Virtqueue& queue);

}  // namespace godwit
