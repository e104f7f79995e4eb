// A sink lane: receives frames and puts pages in place.
//
//   channel --> header, checked --> payload --> decoder --> whole pages ------------------------> PagePlacer
//                                                      |                                             ^
//                                                      +--> tail, checked --> one value, a copy, ----+
//                                                                             or sub-blocks of a page
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <vector>

#include "codec/codec.h"
#include "engine/page_placer.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "wire/block.h"
#include "wire/frame.h"

namespace godwit {

/// What all lanes of a migration share. Outlives them.
struct SinkLaneSetting {
  PagePlacer& placer;
  const Kernels& kernels;
  unsigned lanes = 1;
  std::function<Status(unsigned lane, std::uint32_t fence)> on_fence;  ///< all before it has been applied by this lane
};

class SinkLane {
 public:
  SinkLane(SinkLaneSetting& setting, unsigned number, Channel& channel);
  /// The thread's body: applies frames up to and including the last fence; kPeerLost if the channel ends before it.
  Status run();

 private:
  Status check(const wire::FrameHeader& header) const;
  Status check_references(const wire::FrameHeader& header, const wire::Tail& tail) const;
  Status apply(const wire::FrameHeader& header);
  /// The tail, whole pages being in place; until the next frame.
  Result<Bytes> receive_raw(const wire::FrameHeader& header);
  Result<Bytes> receive_encoded(const wire::FrameHeader& header);
  Status apply_tail(const wire::FrameHeader& header, Bytes bytes);
  Result<Decoder*> decoder(std::uint8_t codec);

  SinkLaneSetting& setting_;
  unsigned number_;
  Channel& channel_;
  std::map<std::uint8_t, std::unique_ptr<Decoder>> decoders_;
  bool devices_load_ = false;  ///< the devices' fence has passed
  std::vector<std::byte> payload_;
  std::vector<std::byte> block_;
  alignas(64) std::array<std::byte, kPageSize> page_{};  ///< as kernels want it
};

}  // namespace godwit
