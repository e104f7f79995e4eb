// What a lane has done, readable by the coordinator at any time.
#pragma once

#include <atomic>
#include <cstdint>

namespace godwit {

struct LaneCounters {
  std::atomic<std::uint64_t> pages_data{0};
  std::atomic<std::uint64_t> pages_zero{0};
  std::atomic<std::uint64_t> pages_resent{0};
  std::atomic<std::uint64_t> bytes_raw{0};         ///< payloads of chunks that went raw
  std::atomic<std::uint64_t> bytes_compressed{0};  ///< payloads of chunks that went compressed
  std::atomic<std::uint64_t> bytes_before{0};      ///< what those were before
  std::atomic<std::uint64_t> busy_ns{0};           ///< time spent on chunks, waiting for the link included
  std::atomic<bool> busy{true};                    ///< false while its chunks hold nothing to send
};

/// Only the lane itself adds, so no read-modify-write is needed.
inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t by) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace godwit
