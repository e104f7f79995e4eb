// A source lane: claims the pages of its chunks, copies them once, sends what the sink does not have yet.
//
//   board --claim--> copy in the lane's buffer --sorter--> whole pages + tail --encoder--> frame --> channel
//                                                                              ^                       |
//                                                                              +------ governor <------+
//
// Lane i of N owns the chunks c with c mod N = i, so all versions of a page travel in order on one connection.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "engine/lane_counters.h"
#include "engine/lane_ladder.h"
#include "engine/page_sorter.h"
#include "engine/shared_page_words.h"
#include "memory/board.h"
#include "memory/guest_memory.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "wire/block.h"
#include "wire/frame.h"

namespace godwit {

/// What all lanes of a migration share. Outlives them.
struct LaneSetting {
  const GuestMemory& memory;
  Board& board;
  SharedPageWords& sent;
  SharedPageWords& left_out;
  const Kernels& kernels;
  const Clock& clock;
  unsigned lanes = 1;
  std::optional<CodecChoice> codec;  ///< none: the governor chooses
  DeltaSetting deltas;
  std::atomic<bool> spread{false};      ///< sweeps take chunks from all over, no longer as they lie
  std::atomic<double> way_rate{0};      ///< BlockOutcome's
  std::atomic<std::uint32_t> fence{0};  ///< a lane that sees a new number sweeps its chunks once more, then sends it
};

class SourceLane {
 public:
  SourceLane(LaneSetting& setting, unsigned number, Channel& channel);

  /// The thread's body: runs until `stop` is requested (and the board announced), or an error.
  Status run(std::stop_token stop);
  const LaneCounters& counters() const noexcept { return counters_; }

 private:
  /// A block on its way through an encoder.
  struct Slot {
    std::vector<std::byte> storage;
    std::byte* pages = nullptr;    ///< kChunkSize, aligned for the kernels
    std::byte* encoded = nullptr;  ///< kChunkSize
    wire::TailBuilder tail;
    wire::FrameHeader header;
    LaneLadder::Choice choice;
    Duration encoding{};
    bool used = false;
  };
  Result<bool> sweep(std::stop_token stop);
  Status take(ChunkIndex chunk, PageWord pages, std::stop_token stop);
  void count(const SortedPages& sorted, PageWord resent) noexcept;
  Status encode(std::size_t index, std::stop_token stop);
  Status send_slot(Slot& slot, std::size_t encoded_size);
  Status collect(bool all, std::stop_token stop);
  Status send_fence(std::uint32_t number);
  void learn(const Slot& slot, bool raw, Duration sending, const SendQueue& before);
  void begin_account(Instant now) noexcept;
  void make_slots(std::size_t depth);
  std::size_t free_slot() const noexcept;

  LaneSetting& setting_;
  unsigned number_;
  Channel& channel_;
  PageSorter sorter_;
  std::deque<Slot> slots_;  ///< before the encoders, which may be at work on them to the end
  LaneLadder ladder_;
  Encoder* encoder_ = nullptr;  ///< with which slots are under way
  std::size_t under_way_ = 0;
  bool devices_load_ = false;  ///< at the sink, from the fence that has been sent: pages go whole
  Instant accounted_{};        ///< the time up to which the ladder has been told of the lane's work, or need not be
  SendWaits waits_;            ///< until then
  std::uint64_t queued_ = 0;   ///< bytes that the peer had not confirmed then
  LaneCounters counters_;
};

}  // namespace godwit
