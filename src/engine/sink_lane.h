// A sink lane: receives frames and puts pages in place.
//
//   channel --> header, checked --> payload --> decoder --> guest RAM (in place where it is mapped)
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <vector>

#include "codec/codec.h"
#include "engine/filled_pages.h"
#include "memory/guest_memory.h"
#include "net/channel.h"
#include "wire/frame.h"

namespace godwit {

/// What all lanes of a migration share. Outlives them.
struct SinkLaneSetting {
  GuestMemory& memory;
  FilledPages& filled;
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
  Status apply(const wire::FrameHeader& header);
  Status receive_raw(const wire::FrameHeader& header);
  Status receive_encoded(const wire::FrameHeader& header);
  Status store(ChunkIndex chunk, PageWord pages, Bytes in);
  Result<Decoder*> decoder(std::uint8_t codec);

  SinkLaneSetting& setting_;
  unsigned number_;
  Channel& channel_;
  std::map<std::uint8_t, std::unique_ptr<Decoder>> decoders_;
  bool devices_load_ = false;  ///< the devices' fence has passed
  std::vector<std::byte> payload_;
  std::vector<std::byte> pages_;
};

}  // namespace godwit
