#include "tracking/split_ring.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "base/limits.h"

namespace godwit {
namespace {

// Layout of the rings (Virtio 1.2, 2.7): flags, idx, ring[]; little-endian, as is every host that this runs on.
static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(Descriptor) == 16);
constexpr std::uint64_t kIndexAt = 2;
constexpr std::uint64_t kRingAt = 4;
constexpr unsigned kLargestQueue = most::kQueueEntries;
// Processors have at most 57 bits of physical address; so no sum of one and an offset wraps.
constexpr std::uint64_t kEndOfAddresses = std::uint64_t{1} << 57;

// Numbers of submissions are 16 bits wide. What is compared must be less than 2^15 apart: queues up to this size, and
// no more than 2^14 requests between the first and the last look. In 2 ms that would be 8 million a second.
constexpr std::size_t kLargestProvable = 8192;
constexpr Duration kLongestLook = std::chrono::milliseconds(2);

struct UsedElement {
  std::uint32_t head = 0;
  std::uint32_t length = 0;
};

template <typename T>
Status read_array(const GuestPhysical& memory, std::uint64_t address, std::span<T> out) {
  const bool in_ram = TRY(memory.read(address, std::as_writable_bytes(out)));
  if (in_ram) return {};
  return fail(ErrorKind::kHypervisor, fmt::format("a virtqueue at {:#x} does not lie in RAM", address));
}

Result<std::uint16_t> read_index(const GuestPhysical& memory, std::uint64_t ring) {
  std::uint16_t index = 0;
  TRY(read_array(memory, ring + kIndexAt, std::span(&index, 1)));
  return index;
}

/// By head: the last of the numbers [index - slots, index) whose slot names it.
template <typename Head>
std::vector<std::optional<std::uint16_t>> last_numbers(const std::vector<Head>& slots, std::uint16_t index) {
  std::vector<std::optional<std::uint16_t>> last(slots.size());
  for (std::size_t back = slots.size(); back > 0; --back) {
    const auto number = static_cast<std::uint16_t>(index - back);
    const Head head = slots[number % slots.size()];
    if (head < slots.size()) last[head] = number;
  }
  return last;
}

}  // namespace

std::vector<bool> possible_heads(const RingSnapshot& rings) {
  const std::size_t size = rings.available.size();
  std::vector<bool> possible(size, true);
  if (size > kLargestProvable) return possible;
  const auto submitted = last_numbers(rings.available, rings.available_index);
  const auto completed = last_numbers(rings.used, rings.used_index);
  for (std::size_t head = 0; head < size; ++head) {
    if (!submitted[head] || !completed[head]) continue;
    const auto ahead = static_cast<std::int16_t>(*submitted[head] - *completed[head]);
    if (ahead <= 0) possible[head] = false;
  }
  return possible;
}

Result<std::vector<bool>> heads_in_flight(const GuestPhysical& memory, const Virtqueue& queue, const Clock& clock) {
  if (!std::has_single_bit(unsigned{queue.size}) || queue.size > kLargestQueue) {
    return fail(ErrorKind::kHypervisor, fmt::format("a virtqueue of {} descriptors", queue.size));
  }
  if (std::max({queue.descriptors, queue.available, queue.used}) >= kEndOfAddresses) {
    return fail(ErrorKind::kHypervisor, "a virtqueue at an address that no processor has");
  }
  const Instant begin = clock.now();
  RingSnapshot rings;
  // Completions first: if no more has been submitted later than was completed earlier, then nothing was in flight.
  rings.used_index = TRY(read_index(memory, queue.used));
  const std::uint16_t submitted = TRY(read_index(memory, queue.available));
  if (submitted == rings.used_index) return std::vector<bool>{};
  std::vector<UsedElement> used(queue.size);
  TRY(read_array(memory, queue.used + kRingAt, std::span(used)));
  for (const UsedElement& element : used) rings.used.push_back(element.head);
  rings.available.resize(queue.size);
  TRY(read_array(memory, queue.available + kRingAt, std::span(rings.available)));
  rings.available_index = TRY(read_index(memory, queue.available));
  if (clock.now() - begin > kLongestLook) return std::vector<bool>(queue.size, true);
  return possible_heads(rings);
}

Result<std::vector<Descriptor>> read_descriptors(const GuestPhysical& memory, const Virtqueue& queue) {
  std::vector<Descriptor> descriptors(queue.size);
  TRY(read_array(memory, queue.descriptors, std::span(descriptors)));
  return descriptors;
}

}  // namespace godwit
