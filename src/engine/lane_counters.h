// What a lane has done, readable by the coordinator at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace godwit {

/// One rung of the ladder: blocks that were sent with it.
struct RungCounters {
  std::atomic<std::uint64_t> blocks{0};
  std::atomic<std::uint64_t> bytes_before{0};  ///< bytes of the blocks
  std::atomic<std::uint64_t> bytes_after{0};   ///< bytes of the payloads
};

/// More rungs than any ladder has.
inline constexpr std::size_t kMostRungs = 16;

struct LaneCounters {
  std::atomic<std::uint64_t> pages_data{0};  ///< that are not zero, in whatever form they went
  std::atomic<std::uint64_t> pages_zero{0};
  std::atomic<std::uint64_t> pages_resent{0};
  std::atomic<std::uint64_t> pages_fill{0};          ///< of pages_data: one value repeated
  std::atomic<std::uint64_t> pages_copied{0};        ///< of pages_data: like another page
  std::atomic<std::uint64_t> pages_delta{0};         ///< of pages_data: only what had changed
  std::atomic<std::uint64_t> pages_unchanged{0};     ///< not sent: rewritten with the bytes that they had
  std::atomic<std::uint64_t> blocks_not_encoded{0};  ///< encoders refused them or failed
  std::atomic<std::uint64_t> encoders_given_up{0};
  std::array<RungCounters, kMostRungs> rungs;  ///< the first is raw
  std::atomic<std::uint64_t> busy_ns{0};       ///< time spent on chunks, waiting for the link included
  std::atomic<std::uint32_t> fence{0};         ///< the latest that was given to the network
  std::atomic<bool> busy{true};                ///< false while its chunks hold nothing to send
};

/// Only the lane itself adds, so no read-modify-write is needed.
inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t by) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace godwit
