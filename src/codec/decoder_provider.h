// Decoders that answer later: devices that decode blocks for a lane of the sink.
//
//   service --wires--> DecoderProvider (owns devices and their queues) --lend()--> LateDecoder, one lane's --> jobs
//
// A lane needs none: it has the libraries of this program (make_decoder()), which decode whatever a device does not
// take or does not manage. So nothing depends on a device, not even what is said of a damaged block.
#pragma once

#include <memory>

#include "codec/codec.h"

namespace godwit {

/// One block to decode. From submit() on both spans belong to the decoder, until it has answered or is destroyed. The
/// output may be guest RAM.
struct DecodeJob {
  std::uint64_t ticket = 0;  ///< the caller's; comes back in the answer
  Bytes input;
  MutableBytes output;  ///< exactly as long as the block
};

struct DecodeDone {
  std::uint64_t ticket = 0;
  std::size_t size = 0;  ///< bytes written to the output; other than its length: the block is decoded once more
  bool failed = false;   ///< a device's error, or a damaged block
  bool busy = false;     ///< together with `failed`: the device had no room, and nothing is wrong with it
};

/// What was not taken or not decoded the lane decodes by itself (engine/lane_decoders.h).
using LateDecoder = JobQueue<DecodeJob, DecodeDone>;

/// Outlives every decoder that it has lent. Called from any lane's thread at once.
class DecoderProvider {
 public:
  virtual ~DecoderProvider() = default;
  /// Null: there is none for this codec, and the lane decodes by itself. `given_up`: how many this lane has had for it
  /// and has given up, because they failed.
  virtual Result<std::unique_ptr<LateDecoder>> lend(CodecId codec, unsigned given_up) = 0;
};

/// For hosts without a device.
class NoLateDecoders final : public DecoderProvider {
 public:
  Result<std::unique_ptr<LateDecoder>> lend(CodecId, unsigned) override { return std::unique_ptr<LateDecoder>(); }
};

}  // namespace godwit
