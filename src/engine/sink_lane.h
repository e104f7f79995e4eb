// A sink lane: receives frames and puts pages in place.
//
//   channel --> header, checked --> payload --> decoder --> whole pages ------------------------> PagePlacer
//                                                      |                                             ^
//                                                      +--> tail, checked --> one value, a copy, ----+
//                                                                             or sub-blocks of a page
//
// Where decoders answer later, the frames that they have are kept in the order in which they came (order_ring.h), and
// those behind them, too: each is applied once it is the oldest. A fence waits for all.
#pragma once

#include <array>
#include <functional>
#include <stop_token>
#include <string_view>
#include <vector>

#include "engine/lane_decoders.h"
#include "engine/lane_shares.h"
#include "engine/page_placer.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "wire/block.h"
#include "wire/frame.h"

namespace godwit {

/// What all lanes of a migration share. Outlives them.
struct SinkLaneSetting {
  PagePlacer* placer;  ///< another one from kMissingFence on
  const Kernels& kernels;
  DecoderProvider& decoders;
  LaneShares shares = {};
  std::function<Status(unsigned lane, std::uint32_t fence)> on_fence;  ///< all before it has been applied by this lane
  std::function<void(std::string_view)> on_note = {};  ///< a line for the operator; any lane's thread, may be empty
};

class SinkLane {
 public:
  SinkLane(SinkLaneSetting& setting, unsigned number, Channel& channel);
  /// The thread's body: applies frames up to and including the last fence; kPeerLost if the channel ends before it.
  /// `stop` ends the waiting for a decoder; that for the channel ends with it.
  Status run(const std::stop_token& stop = {});

 private:
  Status take(const wire::FrameHeader& header, const std::stop_token& stop);
  Status check(const wire::FrameHeader& header) const;
  Status check_changes(const wire::FrameHeader& header) const;
  Status check_references(const wire::FrameHeader& header, const wire::Tail& tail) const;

  // Alone: nothing is under way, and nothing decodes later.
  Status apply_now(const wire::FrameHeader& header);
  /// The tail, whole pages being in place; until the next frame.
  Result<Bytes> receive_raw(const wire::FrameHeader& header);
  Result<Bytes> receive_encoded(const wire::FrameHeader& header);

  // In turn.
  Status enter(const wire::FrameHeader& header, const std::stop_token& stop);
  bool may_decode_in_place(const wire::FrameHeader& header) const;
  Status apply_ready();
  Status apply_all(const std::stop_token& stop);
  Status apply_oldest();

  Status apply_tail(const wire::FrameHeader& header, Bytes bytes);

  SinkLaneSetting& setting_;
  unsigned number_;
  Channel& channel_;
  FrameRing ring_;
  LaneDecoders decoders_;      ///< after the frames, which they may be at work on to the end
  bool devices_load_ = false;  ///< the devices' fence has passed
  std::vector<std::byte> payload_;
  std::vector<std::byte> block_;
  alignas(64) std::array<std::byte, kPageSize> page_{};  ///< as kernels want it
};

}  // namespace godwit
