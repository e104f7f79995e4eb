// One lane's encoders: gives them blocks and hears their answers. Whatever an encoder does, the block goes on, raw if
// need be.
//
//   is there an encoder?   no: raw      does it take the block?   no: raw      is the answer smaller?   no: raw
//
// An encoder that fails many blocks in a row, or ends with an error, is given up; the provider may have another.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string_view>
#include <vector>

#include "codec/encoder_provider.h"
#include "engine/lane_block.h"
#include "engine/lane_counters.h"

namespace godwit {

/// Owned by one lane. Encoders are borrowed when they are first needed; several may have blocks under way at once.
class LaneEncoders {
 public:
  /// For each codec level one; the first is raw. All references outlive it.
  LaneEncoders(EncoderProvider& provider, std::vector<CodecChoice> levels, BlockRing& ring, LaneCounters& counters,
               std::function<void(std::string_view)> on_note);

  /// Has a block under way encoded with the codec level that it has chosen, or with the next lower one that there is an
  /// encoder for. Waits only where that encoder has all its jobs under way.
  void encode(LaneBlock& block, std::stop_token stop);
  /// Of the device at this level; nothing: it is not there any more.
  std::optional<double> device_wait_per_byte(std::size_t level) {
    const Encoder* const encoder = encoder_of(level);
    return encoder != nullptr ? encoder->device_wait_per_byte() : std::nullopt;
  }
  /// Hears the answers that are there.
  void poll();
  /// Until the block is ready, or stop was requested.
  void await(const LaneBlock& block, std::stop_token stop);

  /// Failures in a row after which an encoder is given up: a device that has died fails all.
  static constexpr unsigned kMostFailures = 8;
  /// However many jobs an encoder takes, no lane takes more memory for blocks than these need.
  static constexpr std::size_t kMostUnderWay = 64;

 private:
  struct Level {
    CodecChoice choice;
    std::unique_ptr<Encoder> encoder;
    bool none = false;  ///< and there will be none
    unsigned given_up = 0;
    unsigned failures = 0;      ///< in a row
    std::size_t under_way = 0;  ///< blocks
  };
  void await_answer(std::size_t level, const std::stop_token& stop);
  Encoder* encoder_of(std::size_t level);
  void hear(std::size_t level, Result<std::size_t> heard);
  void answer(std::size_t level, const EncodeDone& done);
  void fail_block(std::size_t level, std::string_view why);
  void give_up(std::size_t level, std::string_view why);
  static void go_raw(LaneBlock& block) noexcept;

  EncoderProvider& provider_;
  BlockRing& ring_;
  LaneCounters& counters_;
  std::function<void(std::string_view)> on_note_;
  std::vector<Level> levels_;
  std::array<EncodeDone, 16> done_;
};

}  // namespace godwit
