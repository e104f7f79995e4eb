// Pages that the guest has given back since they were sent: they go as zeros.
//
//   sent? --tracker: in no page table? --> memory: a hole? --> board          on the tracker's threads, by stretches
//
// A page that is in the hypervisor's page table has not been given back; only of the others the file is asked, which
// takes longer.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/shared_page_words.h"
#include "memory/board.h"
#include "memory/guest_memory.h"
#include "tracking/dirty_tracker.h"

namespace godwit {

/// One look.
class GivenBack final : public AbsentPages {
 public:
  /// `sent`: what the sink holds with content. All outlive it.
  GivenBack(const GuestMemory& memory, const SharedPageWords& sent, Board& board) noexcept
      : memory_(memory), sent_(sent), board_(board) {}

  Status ask(ChunkIndex first, std::span<PageWord> pages) override;
  Status found(ChunkIndex first, std::span<PageWord> pages) override;

  /// Pages given back, which are on the board now. It has not been announced.
  std::uint64_t posted() const noexcept { return posted_.load(std::memory_order_relaxed); }

 private:
  const GuestMemory& memory_;
  const SharedPageWords& sent_;
  Board& board_;
  std::atomic<std::uint64_t> posted_{0};
};

}  // namespace godwit
