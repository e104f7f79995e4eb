// From the heads that may be in flight to the pages that the device may write.
//
//   possible heads --> chains of descriptors, indirect tables --> writable buffers --> sorted, merged --> pages of RAM
//
// A request in flight has its descriptors intact: the guest may not touch them. All others are whatever the guest left
// there: stale, reused for something else, or hostile. So everything found is taken for a buffer if it could be one,
// and everything is bounded: what a real device would refuse is left out, each descriptor is visited once, and where
// there is still too much of it the answer is "all of RAM", which is never too little.
#include "tracking/virtqueues.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/limits.h"
#include "memory/guest_physical.h"
#include "memory/page_list.h"
#include "tracking/split_ring.h"

namespace godwit {
namespace {

// The most descriptors that QEMU takes in one request; it refuses longer chains and marks the device broken.
constexpr std::size_t kMaxChain = 1024;
// Descriptors read in one look at all queues: 256 MiB, some 100 ms of work. 64 queues of 256 requests of 128 pages each
// need an eighth of it.
constexpr std::size_t kMaxDescriptors = std::size_t{16} << 20;
// Buffers remembered before they are merged: 1 MiB.
constexpr std::size_t kMaxBuffers = 65536;

struct Buffer {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

/// The buffers found in one look. "Everything" once there are too many.
class Buffers {
 public:
  explicit Buffers(const GuestPhysical& memory) : memory_(memory) {}

  bool everything() const noexcept { return everything_; }

  /// Counts work against the limit.
  void spend(std::size_t descriptors) {
    descriptors_ += descriptors;
    if (descriptors_ > kMaxDescriptors) everything_ = true;
  }

  void add(const Descriptor& descriptor) {
    if ((descriptor.flags & kDescriptorWritable) == 0 || descriptor.length == 0 || everything_) return;
    const std::uint64_t last = std::numeric_limits<std::uint64_t>::max() - descriptor.address;
    const std::uint64_t end = descriptor.address + std::min<std::uint64_t>(descriptor.length, last);
    if (!memory_.touches_ram(descriptor.address, end)) return;
    buffers_.push_back({descriptor.address, end});
    if (buffers_.size() < kMaxBuffers) return;
    merge();
    // Merging again and again for little would make the work quadratic.
    if (buffers_.size() > kMaxBuffers / 2) everything_ = true;
  }

  std::vector<PagesOfChunk> pages() {
    std::vector<PagesOfChunk> found;
    if (everything_) {
      memory_.append_all(found);
    } else {
      merge();
      for (const Buffer& buffer : buffers_) memory_.append_pages(buffer.start, buffer.end, found);
    }
    normalise(found);
    return found;
  }

 private:
  void merge() {
    std::ranges::sort(buffers_, {}, &Buffer::start);
    std::size_t kept = 0;
    for (const Buffer& buffer : buffers_) {
      if (kept > 0 && buffers_[kept - 1].end >= buffer.start) {
        buffers_[kept - 1].end = std::max(buffers_[kept - 1].end, buffer.end);
      } else {
        buffers_[kept++] = buffer;
      }
    }
    buffers_.resize(kept);
  }

  const GuestPhysical& memory_;
  std::vector<Buffer> buffers_;
  std::size_t descriptors_ = 0;
  bool everything_ = false;
};

class VirtqueueReader final : public DiskWrites {
 public:
  VirtqueueReader(const GuestMemory& memory, std::vector<PhysicalRange> ranges, ListVirtqueues queues)
      : memory_(memory, std::move(ranges)), list_queues_(std::move(queues)) {}

  Result<std::vector<PagesOfChunk>> in_flight() override {
    const auto queues = TRY(list_queues_());
    if (queues.size() > most::kQueues) {
      return fail(ErrorKind::kHypervisor, fmt::format("{} virtqueues are too many", queues.size()));
    }
    Buffers buffers(memory_);
    for (const Virtqueue& queue : queues) {
      // Not set up (yet): the device does not use it.
      if (queue.size == 0 || queue.descriptors == 0) continue;
      TRY(look_into(queue, buffers));
    }
    return buffers.pages();
  }

 private:
  Status look_into(const Virtqueue& queue, Buffers& buffers) const {
    const auto possible = TRY(heads_in_flight(memory_, queue, clock_));
    if (possible.empty()) return {};
    const auto table = TRY(read_descriptors(memory_, queue));
    buffers.spend(table.size());
    std::vector<bool> visited(table.size());
    for (std::size_t head = 0; head < table.size(); ++head) {
      if (!possible[head]) continue;
      // A descriptor visited before has had the rest of its chain visited too.
      for (std::size_t at = head; at < table.size() && !visited[at] && !buffers.everything();) {
        visited[at] = true;
        buffers.add(table[at]);
        if ((table[at].flags & kDescriptorIndirect) != 0) TRY(look_into_indirect(table[at], buffers));
        at = (table[at].flags & kDescriptorNext) != 0 ? table[at].next : table.size();
      }
    }
    return {};
  }

  /// The chain of an indirect table begins with its first descriptor, and cannot lead to another table.
  Status look_into_indirect(const Descriptor& reference, Buffers& buffers) const {
    if (reference.length == 0 || reference.length % sizeof(Descriptor) != 0) return {};  // refused by the device
    // A table may be longer than a chain, and the chain may lead anywhere in it.
    const std::size_t count = reference.length / sizeof(Descriptor);
    std::vector<Descriptor> table(std::min(count, kMaxChain));
    buffers.spend(table.size());
    const bool in_ram = TRY(memory_.read(reference.address, std::as_writable_bytes(std::span(table))));
    if (!in_ram) return {};
    std::size_t at = 0;
    for (std::size_t steps = 0; steps < kMaxChain && at < count && !buffers.everything(); ++steps) {
      Descriptor descriptor;
      if (at < table.size()) {
        descriptor = table[at];
      } else {
        const bool more_in_ram = TRY(memory_.read(reference.address + at * sizeof(Descriptor),
                                                  std::as_writable_bytes(std::span(&descriptor, 1))));
        if (!more_in_ram) return {};
      }
      buffers.add(descriptor);
      if ((descriptor.flags & kDescriptorNext) == 0) break;
      at = descriptor.next;
    }
    return {};
  }

  const GuestPhysical memory_;
  const ListVirtqueues list_queues_;
  const SteadyClock clock_;
};

}  // namespace

std::unique_ptr<DiskWrites> read_virtqueues(const GuestMemory& memory, std::vector<PhysicalRange> ranges,
                                            ListVirtqueues queues) {
  return std::make_unique<VirtqueueReader>(memory, std::move(ranges), std::move(queues));
}

}  // namespace godwit
