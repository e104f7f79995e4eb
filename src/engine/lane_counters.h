// What a lane has done, readable by the coordinator at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace godwit {

/// One codec level: blocks that were sent with it.
struct LevelCounters {
  std::atomic<std::uint64_t> blocks{0};
  std::atomic<std::uint64_t> bytes_before{0};  ///< bytes of the blocks
  std::atomic<std::uint64_t> bytes_after{0};   ///< bytes of the payloads
};

/// More codec levels than any lane has.
inline constexpr std::size_t kMostLevels = 16;

/// What a lane counts, and the sums over all lanes. A new counter is a line here and one in kAll.
template <typename Number>
struct LaneCounts {
  Number pages_data{0};  ///< that are not zero, in whatever form they went
  Number pages_zero{0};
  Number pages_resent{0};
  Number pages_fill{0};          ///< of pages_data: one value repeated
  Number pages_copied{0};        ///< of pages_data: like another page
  Number pages_delta{0};         ///< of pages_data: only what had changed
  Number pages_unchanged{0};     ///< not sent: rewritten with the bytes that they had
  Number blocks_not_encoded{0};  ///< encoders refused them or failed
  Number encoders_given_up{0};
  Number busy_ns{0};  ///< time spent on chunks, waiting for the link included

  static constexpr std::array<Number LaneCounts::*, 10> kAll = {
      &LaneCounts::pages_data,      &LaneCounts::pages_zero,         &LaneCounts::pages_resent,
      &LaneCounts::pages_fill,      &LaneCounts::pages_copied,       &LaneCounts::pages_delta,
      &LaneCounts::pages_unchanged, &LaneCounts::blocks_not_encoded, &LaneCounts::encoders_given_up,
      &LaneCounts::busy_ns};
};

/// The sum over all lanes at one moment.
struct LaneTotals : LaneCounts<std::uint64_t> {
  static_assert(sizeof(LaneCounts<std::uint64_t>) == kAll.size() * sizeof(std::uint64_t), "kAll names them all");
  /// Pages that were claimed, sent or not.
  std::uint64_t claimed() const noexcept { return pages_data + pages_zero + pages_unchanged; }

  std::uint64_t bytes_wire = 0;  ///< with headers
};

struct LaneCounters : LaneCounts<std::atomic<std::uint64_t>> {
  void add_to(LaneTotals& sum) const noexcept {
    for (std::size_t i = 0; i < kAll.size(); ++i) sum.*LaneTotals::kAll[i] += this->*kAll[i];
  }

  std::array<LevelCounters, kMostLevels> levels;  ///< the first is raw
  std::atomic<std::uint32_t> fence{0};            ///< the latest that was given to the network
  std::atomic<bool> busy{true};                   ///< false while its chunks hold nothing to send
};

/// Only the lane itself adds, so no read-modify-write is needed.
inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t by) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace godwit
