// One lane's decoders, at the sink: whatever a device does, the block is decoded, by this program's own library if need
// be.
//
//   is there a device?   no: library      does it take the block?   no: library      does it succeed?   no: library
//
// A device that fails many blocks in a row, or ends with an error, is given up; the provider may have another.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string_view>

#include "codec/decoder_provider.h"
#include "engine/sink_frame.h"

namespace godwit {

/// Owned by one lane. Decoders are borrowed when they are first needed; several may have frames under way at once.
class LaneDecoders {
 public:
  /// All references outlive it.
  LaneDecoders(DecoderProvider& provider, FrameRing& ring, std::function<void(std::string_view)> on_note);

  /// Whether blocks of this codec are decoded later: decode_now() is faster for others.
  bool are_late(std::uint8_t codec);
  /// Begins to decode a frame that is under way, or does it.
  Status decode(SinkFrame& frame);
  /// By the library. kProtocol as Decoder::decode().
  Status decode_now(std::uint8_t codec, Bytes in, MutableBytes out);
  /// Hears the answers that are there.
  Status poll();
  /// Until the frame is ready. kCancelled: stop was requested.
  Status await(const SinkFrame& frame, const std::stop_token& stop);

  /// Failures in a row after which a device is given up.
  static constexpr unsigned kMostFailures = 8;
  /// However many jobs a device takes, no lane takes more memory for frames than these need.
  static constexpr std::size_t kMostUnderWay = 64;

 private:
  struct Codec {
    std::unique_ptr<Decoder> library;
    std::unique_ptr<LateDecoder> device;
    bool no_device = false;  ///< and there will be none
    unsigned given_up = 0;
    unsigned failures = 0;      ///< in a row
    std::size_t under_way = 0;  ///< frames
  };
  LateDecoder* device_of(std::uint8_t codec);
  Status hear(std::uint8_t codec, Result<std::size_t> heard);
  Status answer(std::uint8_t codec, const DecodeDone& done);
  Status decode_here(SinkFrame& frame);
  Status fail_block(std::uint8_t codec, std::string_view why);
  Status give_up(std::uint8_t codec, std::string_view why);

  DecoderProvider& provider_;
  FrameRing& ring_;
  std::function<void(std::string_view)> on_note_;
  std::map<std::uint8_t, Codec> codecs_;
  std::array<DecodeDone, 16> done_;
};

}  // namespace godwit
