// A source lane: claims the pages of its chunks, copies them once, sends what the sink does not have yet.
//
//   board --claim--> copy in a block's buffer --sorter--> whole pages + tail --encoders--> frame --> channel
//             |                                                                ^    ^                  |
//             |                                                                |    +--- governor <----+
//             +--> in guest RAM, if a device encodes and nothing is compared --+
//
// A lane owns its share of the chunks (lane_shares.h), and its blocks leave in the order in which they were claimed
// (order_ring.h), so all versions of a page travel in order on one connection.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string_view>

#include "base/clock.h"
#include "engine/lane_block.h"
#include "engine/lane_counters.h"
#include "engine/lane_encoders.h"
#include "engine/lane_levels.h"
#include "engine/lane_shares.h"
#include "engine/page_sorter.h"
#include "engine/shared_page_words.h"
#include "engine/unconfirmed_pages.h"
#include "memory/board.h"
#include "memory/guest_memory.h"
#include "memory/kernels.h"
#include "net/channel.h"

namespace godwit {

/// What all lanes of a migration share. Outlives them.
struct LaneSetting {
  const GuestMemory& memory;
  Board& board;
  SharedPageWords& sent;
  SharedPageWords& left_out;
  const Kernels& kernels;
  const Clock& clock;
  EncoderProvider& encoders;
  LaneShares shares;
  std::optional<CodecChoice> codec;  ///< none: the governor chooses
  DeltaSetting deltas;
  std::function<void(std::string_view)> on_note;  ///< a line for the operator; any lane's thread, may be empty
  UnconfirmedPages* unconfirmed = nullptr;        ///< null: a lost link is not borne
  bool whole_pages = false;                       ///< from the beginning: the guest runs at the sink already
  std::atomic<bool> spread{false};                ///< sweeps take chunks from all over, no longer as they lie
  std::atomic<double> way_rate{0};                ///< BlockOutcome's
  std::atomic<bool> held{false};                  ///< nothing more is claimed: what the board holds goes later
  std::atomic<std::uint32_t> early_fence{0};  ///< a lane that sees a new number sends it before it claims anything more
  std::atomic<std::uint32_t> fence{0};  ///< a lane that sees a new number sweeps its chunks once more, then sends it
};

class SourceLane {
 public:
  SourceLane(LaneSetting& setting, unsigned number, Channel& channel);

  /// The thread's body: runs until `stop` is requested (and the board announced), or an error.
  Status run(std::stop_token stop);
  const LaneCounters& counters() const noexcept { return counters_; }

 private:
  Result<bool> sweep(std::stop_token stop);
  Status take(ChunkIndex chunk, PageWord pages, std::stop_token stop);
  void count(const SortedPages& sorted, PageWord resent) noexcept;
  Result<LaneBlock*> spare_block(std::stop_token stop);
  std::optional<Bytes> in_place(ChunkIndex chunk, PageWord pages, Effort effort);
  Status take_in_place(LaneBlock& block, ChunkIndex chunk, PageWord pages, PageWord before, std::stop_token stop);
  Status encode(LaneBlock& block, std::stop_token stop);
  Status copy_unread(LaneBlock& block, std::stop_token stop);
  Status send_oldest(std::stop_token stop);
  Status send_ready(std::stop_token stop);
  Status send_block(LaneBlock& block);
  Status send_early_fence(std::stop_token stop);
  Status send_fence(std::uint32_t number);
  void learn(const LaneBlock& block, bool raw, Duration sending, const SendQueue& before);
  void begin_account(Instant now) noexcept;
  void keep_waits(const SendWaits& waits) noexcept;
  void count_busy(Instant since) noexcept;

  LaneSetting& setting_;
  unsigned number_;
  Channel& channel_;
  LaneCounters counters_;
  PageSorter sorter_;
  LaneLevels levels_;
  BlockRing ring_;
  LaneEncoders encoders_;      ///< after the blocks, which they may be at work on to the end
  std::uint32_t fenced_;       ///< the latest fence that it has sent, or need not send
  bool devices_load_ = false;  ///< at the sink, from the fence that has been sent: pages go whole
  Instant accounted_{};        ///< the time up to which the levels have been told of the lane's work, or need not be
  SendWaits waits_;            ///< until then
  std::uint64_t queued_ = 0;   ///< bytes that the peer had not confirmed then
};

}  // namespace godwit
