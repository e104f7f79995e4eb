// A guest's driver and a disk at the two ends of a split virtqueue in fake guest memory.
#pragma once

#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "tests/support/plain_memory.h"
#include "tracking/split_ring.h"
#include "tracking/virtqueues.h"

namespace godwit::testing {

/// Guest-physical address 0 is the start of the block.
class VirtioDisk {
 public:
  VirtioDisk(PlainMemory& memory, Virtqueue queue) : memory_(memory), queue_(queue) {
    for (std::uint16_t head = 0; head < queue.size; ++head) free_.push_back(head);
  }

  const Virtqueue& queue() const { return queue_; }

  template <typename T>
  void put(std::uint64_t address, const T& value) {
    std::memcpy(memory_.at(ChunkIndex{0}, 0) + address, &value, sizeof value);
  }

  /// The driver makes a request of descriptors that it has free; gives the head. Not more than there are.
  std::uint16_t submit(const std::vector<Descriptor>& chain) {
    std::vector<std::uint16_t> taken;
    for (std::size_t i = 0; i < chain.size(); ++i) {
      taken.push_back(free_.back());
      free_.pop_back();
    }
    for (std::size_t i = 0; i < chain.size(); ++i) {
      Descriptor descriptor = chain[i];
      if (i + 1 < chain.size()) {
        descriptor.flags |= kDescriptorNext;
        descriptor.next = taken[i + 1];
      }
      put_descriptor(taken[i], descriptor);
    }
    put(queue_.available + 4 + 2ULL * (available_ % queue_.size), taken[0]);
    put(queue_.available + 2, ++available_);
    in_flight_[taken[0]] = taken;
    return taken[0];
  }

  /// The disk has done with a request.
  void complete(std::uint16_t head) {
    put(queue_.used + 4 + 8ULL * (used_ % queue_.size), std::uint64_t{head});
    put(queue_.used + 2, ++used_);
    const auto taken = in_flight_.at(head);
    free_.insert(free_.end(), taken.rbegin(), taken.rend());  // used again at once, as Linux does
    in_flight_.erase(head);
  }

  void put_descriptor(std::uint16_t index, const Descriptor& descriptor) {
    put(queue_.descriptors + 16ULL * index, descriptor);
  }

  std::size_t free_descriptors() const { return free_.size(); }
  const std::map<std::uint16_t, std::vector<std::uint16_t>>& in_flight() const { return in_flight_; }

 private:
  PlainMemory& memory_;
  Virtqueue queue_;
  std::vector<std::uint16_t> free_;
  std::map<std::uint16_t, std::vector<std::uint16_t>> in_flight_;
  std::uint16_t available_ = 0, used_ = 0;
};

}  // namespace godwit::testing
