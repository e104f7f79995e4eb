// What a lane has done, readable by the coordinator at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace godwit {

/// One codec level: blocks that were sent with it.
struct LevelCounters {
  std::atomic<std::uint64_t> blocks{0};
  std::atomic<std::uint64_t> bytes_before{0};  ///< bytes of the blocks
  std::atomic<std::uint64_t> bytes_after{0};   ///< bytes of the payloads
};

/// More codec levels than any lane has.
inline constexpr std::size_t kMostLevels = 16;
/// Where blocks are counted that a device was meant to encode, and the CPU has encoded.
inline constexpr std::size_t kByCpuLevel = kMostLevels - 1;

/// What a lane counts, and the sums over all lanes. A new counter is a line here and one in kAll, from which the sums
/// and both reports follow.
template <typename Number>
struct LaneCounts {
  Number pages_data{0};          ///< sent with content, whole or in part, every sending counted
  Number pages_same_fill{0};     ///< of pages_data: as the one 64-bit value that they repeat
  Number pages_copied{0};        ///< of pages_data: as a reference to another page, and what differs
  Number pages_delta{0};         ///< of pages_data: as the parts that had changed
  Number pages_unchanged{0};     ///< not sent again: rewritten with the bytes that the sink has
  Number pages_zero{0};          ///< sent as zeros
  Number pages_resent{0};        ///< of pages_data and pages_zero: not the page's first sending
  Number blocks_not_encoded{0};  ///< went raw, because an encoder refused them or failed
  Number encoders_given_up{0};   ///< after failures
  Number busy_ns{0};             ///< time spent on chunks, waiting for the link included
  Number waited_ns{0};           ///< of that: for the link

  struct Counter {
    Number LaneCounts::*count;
    std::string_view key;        ///< in the report for programs; empty: it is not in a report
    std::string_view text = {};  ///< in the report for people, where it is not 0; empty: that has a sentence about it
  };
  static constexpr std::array<Counter, 11> kAll = {{
      {&LaneCounts::pages_data, "pages_data"},
      {&LaneCounts::pages_same_fill, "pages_same_fill"},
      {&LaneCounts::pages_copied, "pages_copied"},
      {&LaneCounts::pages_delta, "pages_delta"},
      {&LaneCounts::pages_unchanged, "pages_unchanged"},
      {&LaneCounts::pages_zero, "pages_zero"},
      {&LaneCounts::pages_resent, "pages_resent"},
      {&LaneCounts::blocks_not_encoded, "blocks_not_encoded", "blocks not encoded"},
      {&LaneCounts::encoders_given_up, "encoders_given_up", "encoders given up"},
      {&LaneCounts::busy_ns, ""},
      {&LaneCounts::waited_ns, ""},
  }};
};
using LaneSums = LaneCounts<std::uint64_t>;

/// The sum over all lanes at one moment.
struct LaneTotals : LaneSums {
  static_assert(sizeof(LaneSums) == kAll.size() * sizeof(std::uint64_t), "kAll names them all");
  /// Pages that were claimed, sent or not.
  std::uint64_t claimed() const noexcept { return pages_data + pages_zero + pages_unchanged; }

  std::uint64_t bytes_wire = 0;  ///< with headers
};

struct LaneCounters : LaneCounts<std::atomic<std::uint64_t>> {
  void add_to(LaneTotals& sum) const noexcept {
    for (std::size_t i = 0; i < kAll.size(); ++i) sum.*LaneTotals::kAll[i].count += this->*kAll[i].count;
  }

  std::array<LevelCounters, kMostLevels> levels;  ///< the first is raw
  std::atomic<std::uint32_t> fence{0};            ///< the latest that was given to the network
  std::atomic<std::uint64_t> sweeps{0};           ///< through all of its chunks, to their end
  std::atomic<bool> busy{true};                   ///< false while its chunks hold nothing to send
};

/// Only the lane itself adds, so no read-modify-write is needed.
inline void add(std::atomic<std::uint64_t>& counter, std::uint64_t by) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace godwit
