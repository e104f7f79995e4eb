// A source lane: claims the pages of its chunks, copies them once, drops zeros, encodes, sends.
//
//   board --claim--> copy in the lane's buffer --zero?--> joined pages --encoder--> frame --> channel
//
// Lane i of N owns the chunks c with c mod N = i, so all versions of a page travel in order on one connection.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "codec/codec.h"
#include "engine/lane_counters.h"
#include "engine/left_out_pages.h"
#include "engine/sent_pages.h"
#include "memory/board.h"
#include "memory/guest_memory.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "wire/frame.h"

namespace godwit {

/// What all lanes of a migration share. Outlives them.
struct LaneSetting {
  const GuestMemory& memory;
  Board& board;
  SentPages& sent;
  LeftOutPages& left_out;
  const Kernels& kernels;
  const Clock& clock;
  unsigned lanes = 1;
  std::atomic<std::uint32_t> fence{0};  ///< a lane that sees a new number sweeps its chunks once more, then sends it
};

class SourceLane {
 public:
  /// `encoder` may be null: everything goes raw.
  SourceLane(LaneSetting& setting, unsigned number, Channel& channel, std::unique_ptr<Encoder> encoder);

  /// The thread's body: runs until `stop` is requested (and the board announced), or an error.
  Status run(std::stop_token stop);
  const LaneCounters& counters() const noexcept { return counters_; }

 private:
  struct Slot {
    std::vector<std::byte> storage;
    std::byte* pages = nullptr;    ///< kChunkSize, aligned for the kernels
    std::byte* encoded = nullptr;  ///< kChunkSize
    wire::FrameHeader header;
    bool used = false;
  };
  Result<bool> sweep(std::stop_token stop);
  Status take(ChunkIndex chunk, PageWord pages);
  Status send_slot(Slot& slot, std::size_t encoded_size);
  Status collect(bool all, std::stop_token stop);
  Status send_fence(std::uint32_t number);
  std::size_t free_slot() const noexcept;

  LaneSetting& setting_;
  unsigned number_;
  Channel& channel_;
  std::unique_ptr<Encoder> encoder_;
  std::vector<Slot> slots_;
  std::size_t under_way_ = 0;
  LaneCounters counters_;
};

}  // namespace godwit
